//! A directory's entries as people read them: the "long name" of a listing, which looks like `ls -l` (draft section 7).

use std::collections::HashMap;
use std::fmt::Write as _;

use rustix::fs::{FileType, Stat};

use crate::accounts::Accounts;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 24 * 60 * 60;
/// As `ls` has it: what is older shows its year instead of its time.
const HALF_A_YEAR: i64 = 182 * DAY;

/// Names of users and groups, looked up once each.
#[derive(Debug, Default)]
pub(super) struct Names {
    accounts: Accounts,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub(super) fn of_host() -> Self {
        Self { accounts: Accounts::of_host(), ..Self::default() }
    }

    /// The line for `name`, with times in UTC. `now` in seconds since 1970.
    pub(super) fn line(&mut self, name: &[u8], stat: &Stat, now: i64) -> Vec<u8> {
        let mut line = String::new();
        let accounts = &self.accounts;
        let user = self.users.entry(stat.st_uid).or_insert_with(|| {
            accounts.by_uid(stat.st_uid).map_or_else(|| stat.st_uid.to_string(), |account| account.name)
        });
        let group = self
            .groups
            .entry(stat.st_gid)
            .or_insert_with(|| accounts.group_name(stat.st_gid).unwrap_or_else(|| stat.st_gid.to_string()));
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "{} {:>3} {user:<8} {group:<8} {:>8} {} ",
            mode(stat.st_mode),
            stat.st_nlink,
            stat.st_size,
            date(stat.st_mtime, now)
        );
        [line.as_bytes(), name].concat()
    }
}

fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn date(time: i64, now: i64) -> String {
    let (year, month, day) = civil(time.div_euclid(DAY));
    let month = MONTHS.get(month).copied().unwrap_or_default();
    let seconds = time.rem_euclid(DAY);
    if (now - HALF_A_YEAR..=now + DAY).contains(&time) {
        format!("{month} {day:>2} {:02}:{:02}", seconds / 3600, seconds / 60 % 60)
    } else {
        format!("{month} {day:>2}  {year}")
    }
}

/// Year, month from 0 and day of the month of a day since 1970: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    (year, usize::try_from(month).unwrap_or(0), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let now = 1_800_000_000;
        assert_eq!(date(0, now), "Jan  1  1970");
        assert_eq!(date(951_782_400, now), "Feb 29  2000");
        assert_eq!(date(-1, now), "Dec 31  1969");
        assert_eq!(date(now, now), "Jan 15 08:00");
        assert_eq!(date(now + 400 * DAY, now), "Feb 19  2028");
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!date(extreme, now).is_empty());
        }
    }

    #[test]
    fn modes_look_as_in_ls() {
        for (raw, shown) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_755, "-rwsr-xr-x"),
            (0o106_600, "-rwS--S---"),
            (0o041_777, "drwxrwxrwt"),
            (0o140_000, "s---------"),
        ] {
            assert_eq!(mode(raw), shown);
        }
    }
}
