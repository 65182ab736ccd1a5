//! Whether this kernel lets tasks interrupt a hook, and the functions of the kernel by which a hook forbids it; and how often it
//! was left out all the same.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _},
};

use spandrel_common::kfunc;

use super::btf::Btf;

/// By what tracepoints guard the list of their programs, and which each CPU has its own of. Since Linux 7.0 they disable
/// preemption no longer. (Until 6.12 there was one of this name, for other ends; those kernels lack half of
/// [`kfunc::ALL`].)
const GUARD: &str = "tracepoint_srcu_srcu_data";

/// The first kernel without that other one.
const FIRST: (u32, u32) = (6, 13);

/// Whether hooks are whole here, by the kernel's doing or by ours.
pub(super) fn is_forbidden(btf: &Btf<'_>, version: Option<(u32, u32)>) -> bool {
    let left_to_us = btf.has_variable(GUARD) && version.is_some_and(|version| version >= FIRST);
    !left_to_us || Functions::needed(btf).is_some()
}

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

/// How often the kernel left out a program because it was still running on that CPU. Kernels before 5.12 do not tell.
pub(super) fn skipped(program: impl AsFd) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
    misses(&fs::read_to_string(path).ok()?)
}

/// The same from what the kernel says about a program's descriptor.
fn misses(text: &str) -> Option<u64> {
    let field = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    field?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_program() {
        let text = "pos:\t0\nprog_type:\t26\nprog_tag:\t7e3a92ac\nrun_cnt:\t0\nrecursion_misses:\t38\n";
        assert_eq!(misses(text), Some(38));
        assert_eq!(misses("pos:\t0\n"), None);
    }
}
