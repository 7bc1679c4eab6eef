//! Properties of random models: what must hold for every network, size, clip and way of cutting it into calls.
//!
//! The reference is the network's other emission, the rank-5 graph over the whole clip; that both describe the right
//! network is for the golden cases to say. `WFVAE_PROPERTY_CASES` sets the number of cases of each property,
//! `WFVAE_PROPERTY_SEED` repeats a run.

mod cases;
mod checkpoint;
mod drive;
mod reach;
mod streams;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner,
};
use std::io::Write;

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

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: found {text}, expected a number")))
}

/// Runs a property on `cases` cases, or as many as the environment says, and shrinks the first that fails.
fn check<S: Strategy>(name: &str, cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult) {
    let cases = number("WFVAE_PROPERTY_CASES").map_or(cases, |n| n as u32);
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64 % 1_000_000_000);
    let seed = number("WFVAE_PROPERTY_SEED").unwrap_or_else(clock);
    // Not captured: a run that passed can be repeated too.
    let say = |text: std::fmt::Arguments| drop(writeln!(std::io::stderr(), "property {name}: {text}"));
    let start = std::time::Instant::now();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // Made by the first failure; to be committed.
    let regressions = format!("src/stream/properties/regressions/{}.txt", name.replace(' ', "-"));
    let config = Config {
        cases,
        max_shrink_iters: 500,
        max_shrink_time: 120_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions.leak()))),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let done = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |case| {
        let result = test(case);
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
