//! Histograms of durations: the buckets of the conventions, and exponential ones on request.

use spandrel_common::ids::{SpanId, TraceId};

/// Upper bounds of the buckets in seconds (http-metrics.md, "http.server.request.duration").
pub const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The scale of exponential histograms (metrics/data-model.md, "ExponentialHistogram"): four buckets for each
/// doubling, each 19 % wide.
pub const SCALE: i32 = 2;
/// Index of the first exponential bucket: it begins at a millionth of a second.
pub const OFFSET: i32 = -80;
/// Exponential buckets: up to 4096 seconds. The specification's default is 160 at most.
pub const BUCKETS: usize = 128;

/// A request that stands for a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub seconds: f64,
    pub unix_ns: u64,
}

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// One for each bound, and one above them all.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Seconds.
    pub sum: f64,
    /// The exponential buckets from [`OFFSET`] on; what is shorter is in `zero`.
    pub exponential: Option<Box<[u64; BUCKETS]>>,
    pub zero: u64,
    /// The last one.
    pub exemplar: Option<Exemplar>,
}

impl Histogram {
    /// An empty one.
    pub fn new(exponential: bool) -> Self {
        Self { exponential: exponential.then(|| Box::new([0; BUCKETS])), ..Self::default() }
    }

    /// Adds a duration.
    pub fn record(&mut self, seconds: f64, exemplar: Option<Exemplar>) {
        if let Some(slot) = self.counts.get_mut(bucket(seconds)) {
            *slot += 1;
        }
        self.sum += seconds;
        if let Some(buckets) = &mut self.exponential {
            match exponential(seconds).map(|at| at.min(BUCKETS - 1)).and_then(|at| buckets.get_mut(at)) {
                Some(slot) => *slot += 1,
                None => self.zero += 1,
            }
        }
        self.exemplar = exemplar.or(self.exemplar);
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut delta = self.clone();
        for (now, then) in delta.counts.iter_mut().zip(earlier.counts) {
            *now = now.saturating_sub(then);
        }
        if let (Some(now), Some(then)) = (&mut delta.exponential, &earlier.exponential) {
            for (now, then) in now.iter_mut().zip(then.iter()) {
                *now = now.saturating_sub(*then);
            }
        }
        delta.sum -= earlier.sum;
        delta.zero = delta.zero.saturating_sub(earlier.zero);
        delta
    }
}

/// The place of a duration among [`BOUNDS`], which are included in their buckets.
pub fn bucket(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

/// The place of a duration in the exponential buckets; `None` if it is below them.
fn exponential(seconds: f64) -> Option<usize> {
    if seconds <= 0.0 {
        return None;
    }
    let index = (seconds.log2() * f64::from(1 << SCALE)).ceil() as i64 - 1;
    usize::try_from(index - i64::from(OFFSET)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_buckets() {
        let mut histogram = Histogram::new(true);
        for seconds in [0.0, 0.005, 0.0051, 10.0, 11.0, 1e9] {
            histogram.record(seconds, None);
        }
        assert_eq!(histogram.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((histogram.count(), histogram.zero), (6, 1));
        assert_eq!(histogram.exponential.as_ref().unwrap().iter().sum::<u64>(), 5);
        assert_eq!(histogram.since(&histogram).count(), 0);
    }

    /// A value v lies in the bucket (base^index, base^(index+1)].
    #[test]
    fn exponential_buckets_are_the_data_model_s() {
        let base = 2_f64.powf(0.25);
        for seconds in [1e-6, 0.001, 0.5, 1.0, 1.0001, 2.0, 3.3, 4000.0] {
            let index = exponential(seconds).unwrap() as i32 + OFFSET;
            assert!(
                base.powi(index) < seconds * 1.000_000_1 && seconds <= base.powi(index + 1) * 1.000_000_1,
                "{seconds}"
            );
        }
        assert_eq!(exponential(1.0).map(|at| at as i32 + OFFSET), Some(-1));
        assert_eq!(exponential(1e-7), None);
    }
}
