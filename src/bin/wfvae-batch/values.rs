//! Values of the command line.

use crate::times;
use std::time::Duration;

pub fn provider(text: &str) -> Result<wfvae::Provider, String> {
    Ok(match text {
        "auto" => wfvae::Provider::Auto,
        "cpu" => wfvae::Provider::Cpu,
        "cuda" => wfvae::Provider::Cuda { device: 0 },
        _ => match text.strip_prefix("cuda:").and_then(|device| device.parse().ok()) {
            Some(device) => wfvae::Provider::Cuda { device },
            None => return Err("expected auto, cpu, cuda or cuda:DEVICE".into()),
        },
    })
}

pub fn microseconds(text: &str) -> Result<i64, String> {
    times::microseconds(text.parse().map_err(|_| "expected a number of seconds".to_string())?)
}

pub fn rate(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "expected a rate such as 25, 23.976 or 30000/1001".to_string();
    let (numerator, denominator) = match text.split_once('/') {
        Some((numerator, denominator)) => {
            (numerator.parse().map_err(|_| wrong())?, denominator.parse().map_err(|_| wrong())?)
        }
        None => {
            let value: f64 = text.parse().map_err(|_| wrong())?;
            if !(0.001..=1000.0).contains(&value) {
                return Err(wrong());
            }
            match value.fract() == 0.0 {
                true => (value as u32, 1),
                false => ((value * 1000.0).round() as u32, 1000),
            }
        }
    };
    match (0.001..=1000.0).contains(&(f64::from(numerator) / f64::from(denominator))) {
        true => Ok((numerator, denominator)),
        false => Err(wrong()),
    }
}

pub fn size(text: &str) -> Result<(usize, usize), String> {
    let parse = |side: &str| side.parse().ok().filter(|&side| (1..=1 << 15).contains(&side));
    text.split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or("expected WIDTHxHEIGHT, each from 1 to 32768".into())
}

pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.strip_suffix('B').unwrap_or(text);
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        Some((at, 'T')) => (&text[..at], 1e12),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (1.0..1e18).contains(&(value * unit)) => Ok((value * unit) as u64),
        _ => Err("expected a size such as 500M or 8G".into()),
    }
}

pub fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 0.1 on".into()),
    }
}
