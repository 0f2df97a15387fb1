//! Hours of the week in which a rule holds: days, a time of day from and to, and whose clock that is.

use std::fmt;
use std::str::FromStr;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credential::as_text;
use crate::names::shorten;

/// Hours of the week. The clock is that of the gateway's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hours {
    /// On these days; without it, on every day. Hours that go past midnight belong to the day on which they begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Day>>,
    /// From this time on, such as `"08:00"`; without it, from 00:00 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<ClockTime>,
    /// Until before this time; without it, until 24:00. An earlier time than `from` is that of the next day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ClockTime>,
    /// Whose clock: `UTC`, an offset such as `+02:00`, or a name of the IANA time zone database such as `Europe/Berlin`,
    /// whose summer time counts.
    pub zone: Zone,
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "what they are called is what they are")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// All, Monday first.
    pub const ALL: [Day; 7] =
        [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
}

/// A time of day, to the minute: `00:00` to `24:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClockTime(u16);

/// Why a text is no time of day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of day: use \"HH:MM\", 00:00 to 24:00")]
pub struct ClockTimeError(String);

/// Whose clock counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

/// Why a text is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time zone: use `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`"
)]
pub struct ZoneError(String);

impl ClockTime {
    /// Minutes since midnight, at most 1440.
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone("UTC".to_owned())
    }
}

impl Zone {
    /// The zone with its offsets; known, since it was parsed.
    pub(crate) fn compiled(&self) -> TimeZone {
        zone(&self.0).unwrap_or(TimeZone::UTC)
    }
}

/// Hours, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct HoursTest {
    days: [bool; 7],
    from: u16,
    to: u16,
    zone: TimeZone,
}

impl HoursTest {
    pub(crate) fn of(hours: &Hours) -> HoursTest {
        let on = |day: Day| hours.days.as_ref().is_none_or(|days| days.contains(&day));
        HoursTest {
            days: Day::ALL.map(on),
            from: hours.from.map_or(0, ClockTime::minutes),
            to: hours.to.map_or(MINUTES_A_DAY, ClockTime::minutes),
            zone: hours.zone.compiled(),
        }
    }

    /// Whether they hold at this time; never at one that no calendar has.
    pub(crate) fn hold(&self, now_unix_s: u64) -> bool {
        let now = i64::try_from(now_unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let Some(now) = now else { return false };
        let local = self.zone.to_datetime(now);
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            return self.days[today] && (self.from..self.to).contains(&minute);
        }
        (self.days[today] && minute >= self.from) || (self.days[yesterday] && minute < self.to)
    }
}

const MINUTES_A_DAY: u16 = 24 * 60;

impl FromStr for ClockTime {
    type Err = ClockTimeError;

    fn from_str(text: &str) -> Result<ClockTime, ClockTimeError> {
        let two = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let parsed = || {
            let (hours, minutes) = text.split_once(':')?;
            let (hours, minutes) = (two(hours)?, two(minutes).filter(|m| *m < 60)?);
            Some(hours * 60 + minutes).filter(|all| *all <= MINUTES_A_DAY)
        };
        parsed().map(ClockTime).ok_or_else(|| ClockTimeError(shorten(text)))
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Zone, ZoneError> {
        zone(text).map(|_| Zone(text.to_owned())).ok_or_else(|| ZoneError(shorten(text)))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn zone(text: &str) -> Option<TimeZone> {
    const NAME_BYTES: usize = 64;
    if text.len() > NAME_BYTES {
        return None;
    }
    if text == "UTC" {
        return Some(TimeZone::UTC);
    }
    if let Some((sign, rest)) = text.split_at_checked(1).filter(|(s, _)| matches!(*s, "+" | "-")) {
        let minutes = rest.parse::<ClockTime>().ok().filter(|offset| offset.0 <= 14 * 60)?.0;
        let seconds = i32::from(minutes) * 60;
        let offset = Offset::from_seconds(if sign == "-" { -seconds } else { seconds });
        return offset.ok().map(TimeZone::fixed);
    }
    // Its own copy of the database: what a machine has installed does not decide who may come.
    TimeZoneDatabase::bundled().get(text).ok()
}

as_text!(
    ClockTime,
    ClockTimeError,
    "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$",
    "A time of day, \"00:00\" to \"24:00\"."
);
as_text!(
    Zone,
    ZoneError,
    "^[A-Za-z0-9+-][A-Za-z0-9_+/:-]*$",
    "`UTC`, an offset such as `+02:00`, or a name of the IANA time zone database such as `Europe/Berlin`."
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 of a time in UTC.
    fn at(text: &str) -> u64 {
        let time: jiff::Timestamp = text.parse().expect(text);
        u64::try_from(time.as_second()).expect("after 1970")
    }

    fn hours(days: &[Day], from: &str, to: &str, zone: &str) -> HoursTest {
        HoursTest::of(&Hours {
            days: (!days.is_empty()).then(|| days.to_vec()),
            from: Some(from.parse().expect(from)),
            to: Some(to.parse().expect(to)),
            zone: zone.parse().expect(zone),
        })
    }

    #[test]
    fn hours_begin_and_end_to_the_minute() {
        let work = hours(&[Day::Mon, Day::Fri], "08:00", "18:00", "UTC");
        for (time, expected) in [
            ("2026-11-20T07:59:59Z", false),
            ("2026-11-20T08:00:00Z", true),
            ("2026-11-20T17:59:59Z", true),
            ("2026-11-20T18:00:00Z", false),
            ("2026-11-19T12:00:00Z", false),
            ("2026-11-23T12:00:00Z", true),
        ] {
            assert_eq!(work.hold(at(time)), expected, "{time}");
        }
        assert!(!work.hold(u64::MAX), "no calendar has it");
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_on_which_they_begin() {
        let night = hours(&[Day::Fri], "22:00", "06:00", "UTC");
        for (time, expected) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:59Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T22:30:00Z", false),
        ] {
            assert_eq!(night.hold(at(time)), expected, "{time}");
        }
    }

    /// Berlin is one hour ahead of UTC in winter, two in summer; India five and a half always.
    #[test]
    fn the_zone_decides_with_its_summer_time() {
        let berlin = hours(&[], "08:00", "09:00", "Europe/Berlin");
        assert!(berlin.hold(at("2026-01-15T07:30:00Z")));
        assert!(!berlin.hold(at("2026-01-15T06:30:00Z")));
        assert!(berlin.hold(at("2026-07-15T06:30:00Z")));
        assert!(!berlin.hold(at("2026-07-15T07:30:00Z")));
        let offset = hours(&[Day::Thu], "00:00", "01:00", "+05:30");
        assert!(offset.hold(at("2026-07-15T18:45:00Z")), "Thursday there");
        assert!(hours(&[], "08:00", "09:00", "-05:00").hold(at("2026-07-15T13:30:00Z")));
    }

    #[test]
    fn times_and_zones_print_as_they_are_written_and_others_are_refused() {
        for text in ["00:00", "08:05", "23:59", "24:00"] {
            assert_eq!(text.parse::<ClockTime>().expect(text).to_string(), text);
        }
        for bad in ["", "8:00", "08:60", "24:01", "25:00", "08:00:00", "+8:00", "0８:00"] {
            assert!(bad.parse::<ClockTime>().is_err(), "{bad}");
        }
        for text in ["UTC", "+02:00", "-00:30", "Europe/Berlin", "America/Argentina/Ushuaia"] {
            assert_eq!(text.parse::<Zone>().expect(text).to_string(), text);
        }
        for bad in ["", "Mars/Base", "+15:00", "+2", "../../etc/passwd", "é"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
