//! From which country a client comes, by a database of MaxMind's format. A file that changes is read anew; one that cannot be
//! read any more leaves the old one in force.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use containerssh_config::{GeoIp, GeoIpProvider};
use maxminddb::{Reader, path};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::codes;

/// Largest database that is read into memory; GeoIP2 City, the largest with countries, has some 120 MB.
const MAX_DATABASE: u64 = 512 * 1024 * 1024;
/// How often it is looked whether the file has changed. It is updated twice a week.
const LOOK: Duration = Duration::from_secs(60);

/// A country by its ISO 3166-1 code of two letters. There are few, so it may be a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Country([u8; 2]);

impl Country {
    /// Where nobody knows: a code that ISO 3166 leaves to users, and what ContainerSSH says.
    pub(crate) const UNKNOWN: Country = Country(*b"XX");

    fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 2] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Self(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Country {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

/// Whoever knows countries.
#[derive(Clone, Default)]
pub struct Countries {
    database: Arc<ArcSwapOption<Reader<Vec<u8>>>>,
    /// Ends the task that looks for changes with the last clone.
    _following: Option<Arc<DropGuard>>,
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countries").field("known", &self.database.load().is_some()).finish_non_exhaustive()
    }
}

impl Countries {
    /// As configured. Reads the database, so it blocks for a moment; in a runtime, which follows the file.
    ///
    /// # Errors
    /// When there is no database, or it knows no countries.
    pub fn new(config: &GeoIp) -> anyhow::Result<Self> {
        if config.provider == GeoIpProvider::Dummy {
            return Ok(Self::default());
        }
        let file = PathBuf::from(&config.maxmind_geoip2_file);
        let seen = changed(&file);
        let database =
            read(&file).with_context(|| format!("geoip.maxmind-geoip2-file: {}", file.display()))?;
        let database = Arc::new(ArcSwapOption::from_pointee(database));
        let stop = CancellationToken::new();
        tokio::spawn(follow(file, seen, Arc::clone(&database), stop.clone()));
        Ok(Self { database, _following: Some(Arc::new(stop.drop_guard())) })
    }

    /// Where an address is.
    pub(crate) fn of(&self, address: IpAddr) -> Country {
        let database = self.database.load();
        let Some(database) = database.as_ref() else { return Country::UNKNOWN };
        database
            .lookup(address.to_canonical())
            .and_then(|found| found.decode_path::<String>(&path!["country", "iso_code"]))
            .ok()
            .flatten()
            .and_then(|code| Country::parse(&code))
            .unwrap_or(Country::UNKNOWN)
    }
}

fn changed(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(file: &Path) -> anyhow::Result<Reader<Vec<u8>>> {
    let size = std::fs::metadata(file)?.len();
    anyhow::ensure!(size <= MAX_DATABASE, "is larger than {MAX_DATABASE} bytes");
    let database = Reader::open_readfile(file)?;
    let kind = &database.metadata().database_type;
    let has_countries = ["Country", "City", "Enterprise"].iter().any(|word| kind.contains(word));
    anyhow::ensure!(has_countries, "is a database of {kind}, which knows no countries");
    Ok(database)
}

async fn follow(
    file: PathBuf,
    mut seen: Option<(SystemTime, u64)>,
    database: Arc<ArcSwapOption<Reader<Vec<u8>>>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let (path, before) = (file.clone(), seen);
        let looked = tokio::task::spawn_blocking(move || {
            let now = changed(&path);
            (now, (now != before).then(|| read(&path)))
        });
        let Ok((now, news)) = looked.await else { continue };
        seen = now;
        match news {
            None => {}
            Some(Ok(news)) => database.store(Some(Arc::new(news))),
            Some(Err(error)) => tracing::error!(
                code = codes::core::GEOIP_READ_FAILED,
                module = "core",
                file = %file.display(),
                error = format!("{error:#}"),
                "The changed GeoIP database cannot be read; what was read before stays in force"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MaxMind's own test database, of the repository MaxMind-DB (Apache-2.0 or MIT).
    const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/GeoIP2-Country-Test.mmdb");

    fn maxmind(file: &str) -> anyhow::Result<Countries> {
        let provider = GeoIpProvider::MaxMind;
        Countries::new(&GeoIp { provider, maxmind_geoip2_file: file.to_owned() })
    }

    #[tokio::test]
    async fn addresses_have_the_countries_of_the_database() {
        let countries = maxmind(TEST).unwrap();
        for (address, country) in [
            ("81.2.69.160", "GB"),
            ("::ffff:81.2.69.160", "GB"),
            ("89.160.20.112", "SE"),
            ("2001:218::1", "JP"),
            ("127.0.0.1", "XX"),
            ("10.1.2.3", "XX"),
        ] {
            assert_eq!(countries.of(address.parse().unwrap()).as_str(), country, "{address}");
        }
        assert_eq!(Countries::default().of("81.2.69.160".parse().unwrap()), Country::UNKNOWN);
    }

    #[tokio::test]
    async fn what_is_no_database_of_countries_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let whole = std::fs::read(TEST).unwrap();
        for (name, content) in
            [("empty", Vec::new()), ("text", b"no database".to_vec()), ("cut", whole[..900].to_vec())]
        {
            let file = directory.path().join(name);
            std::fs::write(&file, content).unwrap();
            let error = format!("{:#}", maxmind(file.to_str().unwrap()).unwrap_err());
            assert!(error.contains("geoip.maxmind-geoip2-file") && error.contains(name), "{error}");
        }
        assert!(maxmind("/nowhere").is_err());
    }

    #[test]
    fn only_codes_of_two_letters_become_labels() {
        assert_eq!(Country::parse("AT").unwrap().as_str(), "AT");
        for code in ["", "A", "AUT", "at", "A1", "é"] {
            assert_eq!(Country::parse(code), None, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_database_is_read_anew_and_a_broken_one_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db.mmdb");
        std::fs::copy(TEST, &file).unwrap();
        let countries = maxmind(file.to_str().unwrap()).unwrap();
        let address = "81.2.69.160".parse().unwrap();
        std::fs::write(&file, b"broken").unwrap();
        tokio::time::sleep(LOOK * 2).await;
        assert_eq!(countries.of(address).as_str(), "GB");
        // Another country at the same address.
        let mut other = std::fs::read(TEST).unwrap();
        let at = other.windows(3).position(|bytes| bytes == b"\x42GB").unwrap();
        other[at..at + 3].copy_from_slice(b"\x42ZZ");
        std::fs::write(&file, other).unwrap();
        tokio::time::sleep(LOOK * 2).await;
        assert_eq!(countries.of(address).as_str(), "ZZ");
    }
}
