//! Patterns over normalised URL paths: literal segments, `*` for one or a part of one, `**` at the end for all below.

use crate::domain::UrlPath;

/// A URL path pattern, split at its slashes.
#[derive(Clone, Debug)]
pub(crate) struct PathPattern {
    segments: Vec<Segment>,
    /// Ends in `**`: this path and everything below.
    below: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    /// One whole segment that is not empty.
    Any,
    /// Stars within: the texts between them.
    Glob(String),
}

impl PathPattern {
    pub(crate) fn of(path: &UrlPath) -> PathPattern {
        let text = path.as_str();
        let below = text.ends_with("/**");
        let text = text.strip_suffix("/**").unwrap_or(text);
        let segments = text.split('/').skip(1).map(|segment| match segment {
            "*" => Segment::Any,
            s if s.contains('*') => Segment::Glob(s.to_owned()),
            s => Segment::Literal(s.to_owned()),
        });
        PathPattern { segments: segments.collect(), below }
    }

    /// Whether a normalised path is meant.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut rest = path.split('/').skip(1);
        for segment in &self.segments {
            let Some(text) = rest.next() else { return false };
            let fits = match segment {
                Segment::Literal(literal) => literal == text,
                Segment::Any => !text.is_empty(),
                Segment::Glob(glob) => glob_matches(glob.as_bytes(), text.as_bytes()),
            };
            if !fits {
                return false;
            }
        }
        self.below || rest.next().is_none()
    }

    /// Whether every path that `other` means is meant. No means "not for sure".
    pub(crate) fn covers(&self, other: &PathPattern) -> bool {
        let enough = if self.below {
            other.segments.len() >= self.segments.len()
        } else {
            other.segments.len() == self.segments.len() && !other.below
        };
        let each = |(mine, theirs): (&Segment, &Segment)| match (mine, theirs) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Any, Segment::Literal(b)) => !b.is_empty(),
            (Segment::Any, Segment::Any) => true,
            (Segment::Glob(a), Segment::Literal(b)) => glob_matches(a.as_bytes(), b.as_bytes()),
            (Segment::Glob(a), Segment::Glob(b)) => a == b,
            _ => false,
        };
        enough && self.segments.iter().zip(&other.segments).all(each)
    }
}

/// `*` stands for any bytes, none included. At most pattern × text steps.
pub(crate) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            g = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_segment_by_segment() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/**", "/", true),
            ("/**", "/x/y", true),
            ("/img/*.png", "/img/a.png", true),
            ("/img/*.png", "/img/a.png.exe", false),
            ("/img/*.png", "/img/x/a.png", false),
            ("/a*b*c", "/aXbYbc", true),
            ("/a*b*c", "/aXbYb", false),
        ] {
            let compiled = PathPattern::of(&pattern.parse().expect(pattern));
            assert_eq!(compiled.matches(path), expected, "{pattern} {path}");
        }
    }
}
