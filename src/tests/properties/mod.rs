//! Properties of random models: what must hold for every network, size, clip and way of cutting it into calls.
//!
//! The reference is the network's other emission, the rank-5 graph over the whole clip; that both describe the right
//! network is for the golden cases to say. `WFVAE_PROPERTY_CASES` sets the number of cases of each property,
//! `WFVAE_PROPERTY_SEED` repeats a run. Cases are random in each run, after those of `pinned.txt`, which once found
//! something; a failure prints its line for that file, and leaves nothing behind.

mod cases;
mod checkpoint;
mod drive;
mod reach;
mod streams;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FailurePersistence, PersistedSeed, RngAlgorithm, TestCaseError, TestCaseResult, TestError, TestRng,
    TestRunner,
};
use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Fails the case.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(TestCaseError::fail(format!($($text)+)));
        }
    };
}
use ensure;

impl From<crate::Error> for TestCaseError {
    fn from(error: crate::Error) -> TestCaseError {
        TestCaseError::fail(error.to_string())
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: found {text}, expected a number")))
}

/// A line a case: the property's name, a colon, the seed as proptest writes it, and why after a `#`.
const PINNED: &str = include_str!("pinned.txt");

/// Of all properties: a pinned case of any other would never run.
const NAMES: [&str; 8] = [
    "causal",
    "exact tiles",
    "first generation",
    "interpolation",
    "reach",
    "real reach",
    "second generation",
    "working memory",
];

/// The pinned cases of a property.
#[derive(Debug, Clone, PartialEq)]
struct Pinned(String);

/// The property and the seed of each line.
fn pinned() -> impl Iterator<Item = (&'static str, PersistedSeed)> {
    let lines = PINNED.lines().map(|line| line.split('#').next().unwrap_or_default()).filter(|line| !line.is_empty());
    lines.map(|line| {
        let seed = line.split_once(':').and_then(|(name, seed)| Some((name, seed.trim().parse().ok()?)));
        seed.unwrap_or_else(|| panic!("pinned.txt: found {line}, expected a property's name, a colon and a seed"))
    })
}

impl FailurePersistence for Pinned {
    fn load_persisted_failures2(&self, _: Option<&'static str>) -> Vec<PersistedSeed> {
        pinned().filter(|(name, _)| *name == self.0).map(|(_, seed)| seed).collect()
    }

    fn save_persisted_failure2(&mut self, _: Option<&'static str>, seed: PersistedSeed, _: &dyn std::fmt::Debug) {
        // Not captured, as all that `check` says.
        let file = "src/tests/properties/pinned.txt";
        drop(writeln!(std::io::stderr(), "to pin this case, add to {file}:\n{}: {seed} # why", self.0));
    }

    fn box_clone(&self) -> Box<dyn FailurePersistence> {
        Box::new(self.clone())
    }

    fn eq(&self, other: &dyn FailurePersistence) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Runs a property on `cases` cases, or as many as the environment says, and shrinks the first that fails.
fn check<S: Strategy>(name: &str, cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult) {
    assert!(NAMES.contains(&name), "{name} is missing in NAMES");
    let cases = number("WFVAE_PROPERTY_CASES").map_or(cases, |n| n as u32);
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64 % 1_000_000_000);
    let seed = number("WFVAE_PROPERTY_SEED").unwrap_or_else(clock);
    // Not captured: a run that passed can be repeated too.
    let say = |text: std::fmt::Arguments| drop(writeln!(std::io::stderr(), "property {name}: {text}"));
    let start = std::time::Instant::now();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        max_shrink_iters: 500,
        failure_persistence: Some(Box::new(Pinned(name.into()))),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let done = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |case| {
        // Without its feature `std`, proptest does not shrink cases that panic.
        let result = catch_unwind(AssertUnwindSafe(|| test(case)))
            .unwrap_or_else(|_| Err(TestCaseError::fail("it panicked, as said above")));
        done.set(done.get() + 1);
        if done.get() % 500 == 0 {
            say(format_args!("{} of {cases}, {:.0?}", done.get(), start.elapsed()));
        }
        result
    });
    say(format_args!("{} cases, WFVAE_PROPERTY_SEED={seed}, {:.1?}", done.get(), start.elapsed()));
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!("{name}, WFVAE_PROPERTY_SEED={seed}: {reason}\n{case:#?}"),
        Err(error) => panic!("{name}, WFVAE_PROPERTY_SEED={seed}: {error}"),
    }
}

#[test]
fn pinned_cases_are_of_properties() {
    pinned().for_each(|(name, _)| assert!(NAMES.contains(&name), "pinned.txt: there is no property {name}"));
}
