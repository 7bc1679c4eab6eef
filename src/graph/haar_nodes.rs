//! Haar transforms as nodes of our operators.

use super::builder::Builder;
use super::haar_bands::{bands, coefficient};
use super::haar_operators::HaarOperator;
use super::onnx::Attribute;
use super::value::{Element, Layout, Value};
use crate::model::Wavelet;

/// Coefficients, channels-last or as a bordered frame, and, if it is needed, their low-pass band.
pub(super) fn analysis(
    b: &mut Builder,
    frames: &[&Value],
    wavelet: Wavelet,
    narrow: bool,
    needs_low: bool,
) -> (Value, Option<Value>) {
    let low = Value { divisor: frames[0].divisor * 2, ..frames[0].clone() };
    let pixels = Value { channels: bands(wavelet) * low.channels, layout: Layout::Pixels, ..low.clone() };
    let (operator, coefficients) = match narrow {
        true => (HaarOperator::NarrowAnalysis, Value { layout: Layout::Bordered, element: Element::Bf16, ..pixels }),
        false => (HaarOperator::Analysis, pixels),
    };
    let inputs: Vec<&str> = frames.iter().map(|frame| frame.name.as_str()).collect();
    if needs_low {
        let [coefficients, low] = node(b, operator, &inputs, wavelet, [coefficients, low]);
        return (coefficients, Some(low));
    }
    let [coefficients] = node(b, operator, &inputs, wavelet, [coefficients]);
    (coefficients, None)
}

/// The inverse, with `low` added to the low-pass band.
pub(super) fn synthesis(b: &mut Builder, coefficients: &Value, low: Option<&Value>, wavelet: Wavelet) -> Vec<Value> {
    debug_assert_eq!((coefficients.layout, coefficients.element), (Layout::Pixels, Element::F32));
    let channels = coefficients.channels / bands(wavelet);
    let picture = Value { channels, layout: Layout::Frame, divisor: coefficients.divisor / 2, ..coefficients.clone() };
    let inputs: Vec<&str> = [coefficients].into_iter().chain(low).map(|value| value.name.as_str()).collect();
    if wavelet.is_temporal() {
        return node(b, HaarOperator::Synthesis, &inputs, wavelet, [picture.clone(), picture]).into();
    }
    node(b, HaarOperator::Synthesis, &inputs, wavelet, [picture]).into()
}

fn node<const N: usize>(
    b: &mut Builder,
    operator: HaarOperator,
    inputs: &[&str],
    wavelet: Wavelet,
    results: [Value; N],
) -> [Value; N] {
    // Of sums.
    let gain = Attribute::float("gain", coefficient(wavelet, 0, 0, 0, 0));
    b.own_node(operator.name(), inputs, vec![gain], results)
}
