//! Passwords that people type: of printable ASCII, wiped when dropped, and never printed.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::limits;

/// A password over a file. Printable ASCII only: other characters are not the same bytes to all programs.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Password {
    type Err = String;

    fn from_str(text: &str) -> Result<Password, String> {
        let (min, max) = (limits::PASSWORD_CHARACTERS_MIN, limits::PASSWORD_CHARACTERS_MAX);
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err("a password is of printable ASCII characters".to_owned());
        }
        if !(min..=max).contains(&text.len()) {
            return Err(format!("a password has {min} to {max} characters"));
        }
        Ok(Password(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Password;

    #[test]
    fn a_password_is_long_enough_and_the_same_bytes_everywhere() {
        for good in ["correct horse", "12345678", &"x".repeat(128)] {
            assert!(good.parse::<Password>().is_ok(), "{good}");
        }
        for bad in ["", "1234567", &"x".repeat(129), "p\u{e4}ssword", "pass\tword", "password\n"] {
            assert!(bad.parse::<Password>().is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", "12345678".parse::<Password>()), "Ok(Password(…))");
    }
}
