//! Traffic for measuring the userspace half without a kernel: what the ring holds for common exchanges.

mod recording;
mod resource;
mod spans;

pub use self::{
    recording::{CONNECTIONS, Recording, SAMPLES, Sample},
    resource::resources,
    spans::{sdk_resource, sdk_span, spans},
};
