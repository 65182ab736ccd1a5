//! Whether this kernel lets tasks interrupt a hook, and the functions of the kernel by which a hook forbids it.

use spandrel_common::kfunc;

use super::btf::Btf;

/// By what tracepoints guard the list of their programs, and which each CPU has its own of. Since Linux 7.0 they disable
/// preemption no longer. (Until 6.12 there was one of this name, for other ends; those kernels lack half of
/// [`kfunc::ALL`].)
const GUARD: &str = "tracepoint_srcu_srcu_data";

/// Numbers that the kernel object has for functions of the kernel, and where the kernel has these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Functions(Vec<(u32, u32)>);

impl Functions {
    /// The functions, if hooks have to call them here.
    pub(super) fn needed(btf: &Btf<'_>) -> Option<Self> {
        if !btf.has_variable(GUARD) {
            return None;
        }
        let places = kfunc::ALL.iter().map(|(number, name)| Some((*number, btf.function(name)?)));
        places.collect::<Option<_>>().map(Self)
    }

    /// Where the kernel has the function of a number.
    pub(super) fn place(&self, number: u32) -> Option<u32> {
        self.0.iter().find_map(|(known, place)| (*known == number).then_some(*place))
    }
}
