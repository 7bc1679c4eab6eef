//! The element types of weights.

/// The element types in which weights can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightType {
    F64,
    F32,
    F16,
    Bf16,
}

impl WeightType {
    /// Looks up a safetensors type name; `None` if weights cannot have it.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "F64" => Some(WeightType::F64),
            "F32" => Some(WeightType::F32),
            "F16" => Some(WeightType::F16),
            "BF16" => Some(WeightType::Bf16),
            _ => None,
        }
    }

    /// The size of an element in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            WeightType::F64 => 8,
            WeightType::F32 => 4,
            WeightType::F16 | WeightType::Bf16 => 2,
        }
    }
}
