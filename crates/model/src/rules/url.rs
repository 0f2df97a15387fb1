//! One form for a request's URL path (RFC 3986 section 6.2.2), and a refusal where servers read a path differently.
//!
//! In order: the query is cut off; percent-encoded unreserved characters are decoded and other encodings get upper-case
//! digits; dot segments are removed. A path that a server behind might read otherwise than the rules is not repaired but
//! denied: `//`, an encoded slash, backslash or NUL, control characters, an encoding within an encoding, `..;x`.

use std::borrow::Cow;

use crate::limits::URL_PATH_BYTES;

/// Why a path is denied before any rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathDenied {
    /// It does not begin with `/`: authority, asterisk or no form at all.
    NotOrigin,
    /// Longer than the limit.
    TooLong,
    /// A byte that no URL holds.
    BadByte,
    /// A `%` without two hex digits.
    BadEncoding,
    /// An encoded slash or backslash, or a backslash.
    EncodedSlash,
    /// An encoded control character, NUL above all.
    EncodedControl,
    /// An encoded `%` that would make another encoding.
    DoubleEncoding,
    /// `//`, which some servers merge.
    DoubleSlash,
    /// More `..` than segments before them.
    AboveRoot,
    /// A dot segment with parameters, which some servers take for a dot segment.
    DotParameter,
}

impl PathDenied {
    /// A stable name for counters and logs.
    pub fn code(self) -> &'static str {
        self.texts().0
    }

    /// The reason and a mend, for those who write patterns.
    pub(crate) fn mend(self) -> &'static str {
        match self {
            PathDenied::EncodedSlash => {
                "a path with an encoded slash is denied before rules are asked; leave it out"
            }
            PathDenied::DoubleSlash => {
                "a path with `//` is denied before rules are asked; write one slash"
            }
            PathDenied::TooLong => "it is too long; shorten it",
            _ => "a path with this encoding is denied before rules are asked; leave it out",
        }
    }

    /// The reason in words.
    pub fn why(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            PathDenied::NotOrigin => ("path-not-origin", "it does not begin with `/`"),
            PathDenied::TooLong => ("path-too-long", "it is too long"),
            PathDenied::BadByte => ("path-bad-byte", "it holds a byte that no URL holds"),
            PathDenied::BadEncoding => ("path-bad-encoding", "a `%` lacks its two hex digits"),
            PathDenied::EncodedSlash => {
                ("path-encoded-slash", "it holds a backslash or an encoded slash")
            }
            PathDenied::EncodedControl => {
                ("path-encoded-control", "it holds an encoded control character")
            }
            PathDenied::DoubleEncoding => ("path-double-encoding", "it is encoded twice"),
            PathDenied::DoubleSlash => ("path-double-slash", "it holds `//`"),
            PathDenied::AboveRoot => ("path-above-root", "its `..` lead above the root"),
            PathDenied::DotParameter => {
                ("path-dot-parameter", "it holds a dot segment with parameters")
            }
        }
    }
}

/// The path in its one form, borrowed where it already has it.
///
/// # Errors
/// A path that servers read differently.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathDenied> {
    let path = path.split_once('?').map_or(path, |(before, _)| before);
    if !path.starts_with('/') {
        return Err(PathDenied::NotOrigin);
    }
    if path.len() > URL_PATH_BYTES {
        return Err(PathDenied::TooLong);
    }
    let decoded = decode(path)?;
    if decoded.contains("//") {
        return Err(PathDenied::DoubleSlash);
    }
    let segments = || decoded.split('/').skip(1);
    if segments().any(is_dot_with_parameter) {
        return Err(PathDenied::DotParameter);
    }
    if !segments().any(|s| matches!(s, "." | "..")) {
        return Ok(decoded);
    }
    remove_dot_segments(&decoded).map(Cow::Owned)
}

fn decode(path: &str) -> Result<Cow<'_, str>, PathDenied> {
    let bytes = path.as_bytes();
    if !bytes.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>')) {
        return Err(PathDenied::BadByte);
    }
    if bytes.contains(&b'\\') {
        return Err(PathDenied::EncodedSlash);
    }
    if !bytes.contains(&b'%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(char::from(*first));
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(PathDenied::BadEncoding) };
        let (Some(value), tail) = (hex_pair(*high, *low), tail) else {
            return Err(PathDenied::BadEncoding);
        };
        rest = tail;
        match value {
            b'/' | b'\\' => return Err(PathDenied::EncodedSlash),
            0..=0x1f | 0x7f => return Err(PathDenied::EncodedControl),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(value));
            }
            _ => {
                out.push('%');
                out.push(char::from(high.to_ascii_uppercase()));
                out.push(char::from(low.to_ascii_uppercase()));
            }
        }
    }
    // Asked of the result, since the digits behind an encoded `%` may come encoded themselves.
    let twice = |w: &[u8]| matches!(w, [b'%', b'2', b'5', h, l] if hex_pair(*h, *l).is_some());
    if out.as_bytes().windows(5).any(twice) {
        return Err(PathDenied::DoubleEncoding);
    }
    Ok(Cow::Owned(out))
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

fn is_dot_with_parameter(segment: &str) -> bool {
    let parameter = |rest: &str| rest.starts_with(';') || rest.starts_with("%3B");
    let rest = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    rest.is_some_and(parameter)
}

/// RFC 3986 section 5.2.4, but a `..` above the root is refused.
fn remove_dot_segments(path: &str) -> Result<String, PathDenied> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => out.push('/'),
            "." => {}
            ".." => {
                let cut = out.rfind('/').ok_or(PathDenied::AboveRoot)?;
                out.truncate(cut);
                if last {
                    out.push('/');
                }
            }
            other => {
                out.push('/');
                out.push_str(other);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (given, form) in [
            ("/", "/"),
            ("/a/b?c=/../d", "/a/b"),
            ("/%61/%7Euser", "/a/~user"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/..a/b..", "/..a/b.."),
            ("/%c3%a4", "/%C3%A4"),
            ("/100%25", "/100%25"),
            ("/a;v=1", "/a;v=1"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(normalise(given).as_deref(), Ok(form), "{given}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_denied() {
        for (given, why) in [
            ("*", PathDenied::NotOrigin),
            ("", PathDenied::NotOrigin),
            ("http://a/b", PathDenied::NotOrigin),
            ("/a%2fb", PathDenied::EncodedSlash),
            ("/a%5Cb", PathDenied::EncodedSlash),
            ("/a\\b", PathDenied::EncodedSlash),
            ("/a%00", PathDenied::EncodedControl),
            ("/a%0d%0aX", PathDenied::EncodedControl),
            ("/%252e%252e/", PathDenied::DoubleEncoding),
            ("/%25%32e/", PathDenied::DoubleEncoding),
            ("/%252%65/", PathDenied::DoubleEncoding),
            ("/%zz", PathDenied::BadEncoding),
            ("/%2", PathDenied::BadEncoding),
            ("//a", PathDenied::DoubleSlash),
            ("/a//b", PathDenied::DoubleSlash),
            ("/..", PathDenied::AboveRoot),
            ("/a/../../b", PathDenied::AboveRoot),
            ("/a/..;x/b", PathDenied::DotParameter),
            ("/a/%2e%2e%3bx/b", PathDenied::DotParameter),
            ("/a b", PathDenied::BadByte),
            ("/ä", PathDenied::BadByte),
            ("/a#b", PathDenied::BadByte),
        ] {
            assert_eq!(normalise(given), Err(why), "{given}");
        }
        assert_eq!(normalise(&"/a".repeat(URL_PATH_BYTES)), Err(PathDenied::TooLong));
    }
}
