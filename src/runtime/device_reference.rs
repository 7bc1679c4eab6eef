//! What our operators on a device compute, on the CPU and in float64: for tests of the graphs that hold them.

use super::cuda;
use crate::graph::{DeviceKind, DeviceOperator, Element};
use crate::model::NORM_EPSILON;
use half::f16;
use ort::operator::{ComputeContext, KernelContext, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

/// The domain with them.
pub(super) fn add_to(domain: OperatorDomain) -> ort::Result<OperatorDomain> {
    let mut operators = DeviceOperator::all(Element::F32);
    let known: Vec<String> = operators.iter().map(|operator| operator.name()).collect();
    operators.extend(DeviceOperator::all(Element::F16).into_iter().filter(|other| !known.contains(&other.name())));
    operators.into_iter().try_fold(domain, |domain, operator| domain.add(Reference(operator, operator.name())))
}

struct Reference(DeviceOperator, String);

impl ort::operator::Operator for Reference {
    type Kernel<'attr> = Box<dyn Fn(&ComputeContext) -> ort::Result<()> + Send>;

    fn name(&self) -> &str {
        &self.1
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        cuda::inputs(self.0)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        cuda::outputs(self.0)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let (kind, silu) = (self.0.kind, context.get::<i64>("silu") == Some(1));
        Ok(Box::new(move |context| run(kind, silu, context)))
    }
}

fn run(kind: DeviceKind, silu: bool, context: &ComputeContext) -> ort::Result<()> {
    let inputs = (0..context.num_inputs()?).map(|i| input(context, i)).collect::<ort::Result<Vec<_>>>()?;
    let values = |i: usize| &inputs[i].1;
    let first = usize::from(kind == DeviceKind::Blend);
    let [1, height, width, channels] = inputs[first].0[..] else { panic!("no frame: {:?}", inputs[first].0) };
    let (h, w, c) = (height as usize, width as usize, channels as usize);
    let shape = [height, width, channels];
    let biased = |x: Vec<f64>, bias: usize| match inputs.get(bias) {
        Some((_, bias)) => x.iter().enumerate().map(|(i, x)| x + bias[i % c]).collect(),
        None => x,
    };
    let sum = || values(0).iter().zip(values(1)).map(|(x, y)| x + y).collect::<Vec<_>>();
    match kind {
        DeviceKind::Norm => {
            let x = biased(values(0).clone(), 3);
            output(context, 0, shape, normed(&x, values(1), values(2), silu))
        }
        DeviceKind::Add | DeviceKind::AddNarrow => output(context, 0, shape, biased(sum(), 2)),
        DeviceKind::AddNorm => {
            let sum = biased(sum(), 4);
            let normed = normed(&sum, values(2), values(3), silu);
            output(context, 0, shape, normed)?;
            if context.num_outputs()? == 2 { output(context, 1, shape, sum) } else { Ok(()) }
        }
        DeviceKind::Blend => {
            let n = c / 3;
            let at = |i: usize| {
                let taps = (0..9).map(|tap| values(0)[tap] * values(1 + tap / 3)[(i / n * 3 + tap % 3) * n + i % n]);
                taps.sum()
            };
            output(context, 0, [height, width, n as i64], (0..h * w * n).map(at).collect())
        }
        DeviceKind::Stack => {
            let at = |i: usize| values(i % (3 * c) / c)[i / (3 * c) * c + i % c];
            output(context, 0, [height, width, 3 * channels], (0..3 * h * w * c).map(at).collect())
        }
        DeviceKind::Weave => {
            let at = |i: usize| {
                let (row, column, channel) = (i / c / (2 * w), i / c % (2 * w), i % c);
                let phase = row % 2 * 2 + column % 2;
                values(phase)[(row / 2 * w + column / 2) * c + channel] + values(4)[channel]
            };
            output(context, 0, [2 * height, 2 * width, channels], (0..4 * h * w * c).map(at).collect())
        }
        DeviceKind::Doubled => {
            // Of one side: two places and the weight of the first.
            let near = |to: usize, size: usize| {
                let from = ((to as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, size as f64 - 1.0);
                let low = from as usize;
                [(low, 1.0 - from.fract()), ((low + 1).min(size - 1), from.fract())]
            };
            let at = |i: usize| {
                let (row, column, channel) = (i / c / (2 * w), i / c % (2 * w), i % c);
                let parts = near(row, h).into_iter().flat_map(|row| near(column, w).map(|column| (row, column)));
                parts.map(|((y, a), (x, b))| a * b * values(0)[(y * w + x) * c + channel]).sum()
            };
            output(context, 0, [2 * height, 2 * width, channels], (0..4 * h * w * c).map(at).collect())
        }
    }
}

fn normed(x: &[f64], scale: &[f64], shift: &[f64], silu: bool) -> Vec<f64> {
    let pixels = x.chunks_exact(scale.len()).flat_map(|pixel| {
        let mean = pixel.iter().sum::<f64>() / pixel.len() as f64;
        let variance = pixel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / pixel.len() as f64;
        let deviation = (variance + f64::from(NORM_EPSILON)).sqrt();
        pixel.iter().zip(scale.iter().zip(shift)).map(move |(x, (scale, shift))| (x - mean) / deviation * scale + shift)
    });
    pixels.map(|y| if silu { y / (1.0 + (-y).exp()) } else { y }).collect()
}

fn input(context: &ComputeContext, i: usize) -> ort::Result<(Vec<i64>, Vec<f64>)> {
    let value = context.input(i)?.expect("given");
    let values = match value.data_type() {
        TensorElementType::Float16 => value.try_extract_tensor::<f16>()?.1.iter().map(|x| x.to_f64()).collect(),
        _ => value.try_extract_tensor::<f32>()?.1.iter().map(|x| f64::from(*x)).collect(),
    };
    Ok((value.shape().to_vec(), values))
}

fn output(context: &ComputeContext, i: usize, [h, w, c]: [i64; 3], values: Vec<f64>) -> ort::Result<()> {
    let mut output = context.output(i, [1, h, w, c])?.expect("taken");
    match output.data_type() {
        TensorElementType::Float16 => {
            let out = output.try_extract_tensor_mut::<f16>()?.1;
            assert_eq!(out.len(), values.len());
            out.iter_mut().zip(values).for_each(|(out, value)| *out = f16::from_f64(value));
        }
        _ => {
            let out = output.try_extract_tensor_mut::<f32>()?.1;
            assert_eq!(out.len(), values.len());
            out.iter_mut().zip(values).for_each(|(out, value)| *out = value as f32);
        }
    }
    Ok(())
}
