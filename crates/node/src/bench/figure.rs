//! A measured figure: the median of several runs, never a single one.

use schemars::JsonSchema;
use serde::Serialize;

/// What several runs gave.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Figure {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Every run, in order.
    pub runs: Vec<f64>,
    /// Half the width of the 95 % confidence interval of the mean (Student's t); from ten runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci95: Option<f64>,
}

/// Runs from which on an interval is given.
const INTERVAL_FROM_RUNS: usize = 10;

impl Figure {
    /// The figure of these runs; `None` of none.
    pub fn of(runs: Vec<f64>) -> Option<Figure> {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        let ci95 = (runs.len() >= INTERVAL_FROM_RUNS).then(|| half_interval(&runs));
        Some(Figure { median, min, max, runs, ci95 })
    }

    /// Takes in further runs.
    pub(super) fn add(&mut self, more: Figure) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.extend(more.runs);
        if let Some(all) = Figure::of(runs) {
            *self = all;
        }
    }
}

fn half_interval(runs: &[f64]) -> f64 {
    let count = runs.len() as f64;
    let mean = runs.iter().sum::<f64>() / count;
    let variance = runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // Student's t, two-sided 95 %, for 9 to 30 degrees of freedom: within 1 % of 1.96 + 2.4 / degrees.
    let t = 1.96 + 2.4 / (count - 1.0) + 1.0 / (count - 1.0).powi(2);
    t * (variance / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let figure = Figure::of(vec![3.0, 1.0, 2.0]).expect("runs");
        assert_eq!((figure.median, figure.min, figure.max, figure.ci95), (2.0, 1.0, 3.0, None));
        assert_eq!(Figure::of(vec![4.0, 1.0, 2.0, 3.0]).expect("runs").median, 2.5);
        assert_eq!(Figure::of(Vec::new()), None);
    }

    #[test]
    fn further_runs_count_like_the_first() {
        let mut figure = Figure::of(vec![3.0, 1.0]).expect("runs");
        figure.add(Figure::of(vec![2.0]).expect("runs"));
        assert_eq!(Some(figure), Figure::of(vec![3.0, 1.0, 2.0]));
    }

    #[test]
    fn ten_runs_have_an_interval() {
        // Mean 5.5, standard deviation 3.028, t(9) = 2.262: 2.166.
        let figure = Figure::of((1..=10).map(f64::from).collect()).expect("runs");
        assert!((figure.ci95.expect("an interval") - 2.166).abs() < 0.03);
    }
}
