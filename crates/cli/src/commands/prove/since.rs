//! A time that the user names, or how long it is ago.

use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const TEXT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since(OffsetDateTime);

impl Since {
    pub(super) fn unix_ms(self) -> u64 {
        u64::try_from(self.0.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
    }

    /// As elements write times.
    pub(super) fn text(self) -> String {
        let utc = self.0.to_offset(time::UtcOffset::UTC);
        utc.format(TEXT).unwrap_or_default()
    }

    fn before(now: OffsetDateTime, text: &str) -> Option<Since> {
        let unit = text.chars().last()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        let ago = Duration::from_secs(number.checked_mul(seconds)?);
        now.checked_sub(ago.try_into().ok()?).map(Since)
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let named = OffsetDateTime::parse(text, &Rfc3339).ok().map(Since);
        let since = named.or_else(|| Since::before(OffsetDateTime::now_utc(), text));
        since.ok_or_else(|| {
            "write a time such as 2026-11-22T08:00:00Z, or 90s, 20m, 2h or 7d".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_how_long_ago() {
        let since: Since = "2026-11-22T09:00:00.5+01:00".parse().unwrap();
        assert_eq!(since.text(), "2026-11-22T08:00:00.500000Z");
        assert_eq!(since.unix_ms(), 1_795_334_400_500);
        let before = |text| Since::before(since.0, text).map(Since::text);
        assert_eq!(before("90s").as_deref(), Some("2026-11-22T07:58:30.500000Z"));
        assert_eq!(before("7d").as_deref(), Some("2026-11-15T08:00:00.500000Z"));
        for wrong in ["", "h", "2", "-1h", "2w", "é", "99999999999999999999d", "9999999999999999d"]
        {
            assert_eq!(before(wrong), None, "{wrong}");
        }
    }
}
