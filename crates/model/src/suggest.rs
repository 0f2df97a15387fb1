//! "Did you mean …?": the nearest of the names that there are.

/// The nearest candidate, if it is near: at most a third of its letters differ, or one where it is short.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const WORD_CHARS: usize = 64;
    if word.chars().nth(WORD_CHARS).is_some() {
        return None;
    }
    let near = |candidate: &&str| {
        let distance = distance(word, candidate);
        (distance <= (candidate.chars().count() / 3).max(1)).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| near(&candidate).map(|distance| (distance, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A mend that names the nearest candidate, or else all of them.
pub(crate) fn mend<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    const SHOWN: usize = 16;
    let all: Vec<&str> = candidates.into_iter().collect();
    if all.is_empty() {
        return format!("there are no {what} yet: add one");
    }
    let shown: Vec<String> = all.iter().take(SHOWN).map(|c| format!("`{c}`")).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    format!("{what}: {}{more}", shown.join(", "))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        assert_eq!(nearest("hop", ["path", "hops", "name"]), Some("hops"));
        assert_eq!(nearest("sf2", ["sf1", "www"]), Some("sf1"));
        assert_eq!(nearest("claent", ["clients", "client"]), Some("client"));
        assert_eq!(nearest("namse", ["names", "name"]), Some("name"));
        assert_eq!(nearest("zebra", ["sf1", "path"]), None);
    }
}
