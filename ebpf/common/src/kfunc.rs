//! Functions of the kernel that programs call (kfuncs), and the numbers that stand for them in the kernel object.
//!
//! A call of one names it by its place in the kernel's type information, which differs from kernel to kernel: the loader
//! puts it there. The numbers are none that a helper has.

/// `void bpf_preempt_disable(void)`, since Linux 6.10.
pub const PREEMPT_DISABLE: u32 = 0x5350_0001;
/// `void bpf_preempt_enable(void)`, since Linux 6.10.
pub const PREEMPT_ENABLE: u32 = 0x5350_0002;
/// `void bpf_local_irq_save(unsigned long *flags)`, since Linux 6.14.
pub const LOCAL_IRQ_SAVE: u32 = 0x5350_0003;
/// `void bpf_local_irq_restore(unsigned long *flags)`, since Linux 6.14.
pub const LOCAL_IRQ_RESTORE: u32 = 0x5350_0004;

/// All of them, with the names that the kernel gives them.
pub const ALL: [(u32, &str); 4] = [
    (PREEMPT_DISABLE, "bpf_preempt_disable"),
    (PREEMPT_ENABLE, "bpf_preempt_enable"),
    (LOCAL_IRQ_SAVE, "bpf_local_irq_save"),
    (LOCAL_IRQ_RESTORE, "bpf_local_irq_restore"),
];
