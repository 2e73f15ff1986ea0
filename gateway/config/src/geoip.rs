//! `geoip`: from which countries clients come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `geoip.provider`
    #[derive(Default)]
    pub enum GeoIpProvider {
        /// Nobody knows: every country is `XX`.
        #[default]
        Dummy = "dummy",
        /// A database of MaxMind's, or in its format.
        MaxMind = "maxmind",
    }
}

/// `geoip`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GeoIp {
    /// Who knows from which countries clients come: for metrics, records and events.
    pub provider: GeoIpProvider,
    /// The database for provider `maxmind`, with countries (GeoIP2-Country, GeoLite2-City …); read at the start, and whenever it or the
    /// configuration has changed. An absolute path.
    #[serde(rename = "maxmind-geoip2-file")]
    pub maxmind_geoip2_file: String,
}

impl Default for GeoIp {
    fn default() -> Self {
        Self {
            provider: GeoIpProvider::default(),
            maxmind_geoip2_file: "/var/lib/GeoIP/GeoIP2-Country.mmdb".to_owned(),
        }
    }
}

impl GeoIp {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.provider == GeoIpProvider::MaxMind && !self.maxmind_geoip2_file.starts_with('/') {
            problems.invalid("geoip.maxmind-geoip2-file", "must be an absolute path");
        }
    }
}
