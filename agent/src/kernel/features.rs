//! What this kernel and this process can do, for `spandrel doctor`.

use std::fs;

use spandrel_common::layout::Need;

use crate::discover::go;

use super::{
    BTF_PATH, HOOKS, Injection, Kernel, Options, btf::Btf, hooks::Profile, layout, loader, preempt, privilege,
};

/// Where a kernel says that it can put probes at functions.
const PROBES: &str = "/sys/bus/event_source/devices/uprobe/type";

/// Something that the agent uses, or would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: String,
    pub present: bool,
    pub required: bool,
    /// What it is for, which is what is lost without it.
    pub purpose: String,
    /// How to get it.
    pub advice: String,
}

/// Everything that was found out.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub release: String,
    /// The profile that `--profile auto` takes.
    pub profile: Option<Profile>,
    pub features: Vec<Feature>,
    /// Programs and the instructions that the verifier walked, if loading was tried and worked.
    pub programs: Vec<(&'static str, u32)>,
    /// Why loading failed.
    pub failure: Option<String>,
    /// What the verifier said, if it refused a program.
    pub verifier_log: Option<String>,
}

impl Survey {
    /// Whether HTTP requests can be traced here, by this process.
    pub fn works(&self) -> bool {
        self.failure.is_none() && self.features.iter().all(|feature| feature.present || !feature.required)
    }
}

/// `uname -r`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// What is missing of that without which loading the kernel side need not be tried.
pub fn unmet() -> Vec<Feature> {
    let mut features = basics(&release());
    features.push(btf_feature(Btf::parse(&fs::read(BTF_PATH).unwrap_or_default()).is_some()));
    features.retain(|feature| feature.required && !feature.present);
    features
}

/// The kernel's age and this process's capabilities.
fn basics(release: &str) -> Vec<Feature> {
    let mut features = vec![Feature {
        name: "kernel version".to_owned(),
        present: loader::version(release).is_none_or(|version| version >= loader::OLDEST),
        required: true,
        purpose: "programs and maps of the kernel side".to_owned(),
        advice: "Linux 5.15 or newer; 5.14 of RHEL 9".to_owned(),
    }];
    features.extend(privilege::capabilities().map(|(capability, held)| Feature {
        name: format!("capability {}", capability.name),
        present: held,
        required: capability.required,
        purpose: capability.purpose.to_owned(),
        advice: "run as root, or grant it".to_owned(),
    }));
    features
}

fn btf_feature(present: bool) -> Feature {
    Feature {
        name: "BTF".to_owned(),
        present,
        required: true,
        purpose: "finding the kernel's structures".to_owned(),
        advice: "use a distribution kernel (CONFIG_DEBUG_INFO_BTF=y)".to_owned(),
    }
}

/// Looks at everything, and loads the kernel side for a moment (it captures nothing: no process is selected).
pub fn survey() -> Survey {
    let mut survey = Survey { release: release(), ..Survey::default() };
    survey.features = basics(&survey.release);
    let raw = fs::read(BTF_PATH).unwrap_or_default();
    let btf = Btf::parse(&raw);
    survey.features.push(btf_feature(btf.is_some()));
    let Some(btf) = btf else { return survey };
    let profile = loader::best_profile(&btf);
    survey.profile = Some(profile);
    for hook in HOOKS {
        let mine = hook.profile.is_none_or(|wanted| wanted == profile);
        survey.features.push(Feature {
            name: format!("tracepoint {}", hook.tracepoint),
            present: btf.tracepoint(hook.tracepoint).is_some(),
            required: mine && hook.required,
            purpose: hook.purpose.to_owned(),
            advice: format!("kernel {} or newer", hook.since),
        });
    }
    survey.features.dedup_by(|a, b| a.name == b.name);
    survey.features.push(Feature {
        name: "hooks without interruption".to_owned(),
        present: preempt::is_forbidden(&btf, loader::version(&survey.release)),
        required: false,
        purpose: "seeing every call on busy processors".to_owned(),
        advice: "use a kernel before 7.0, or one with bpf_preempt_disable and bpf_local_irq_save".to_owned(),
    });
    for missing in layout::find(&btf).1 {
        let required = match missing.need {
            Need::Always => true,
            Need::Syscalls => profile == Profile::Syscall,
            Need::Nice => false,
        };
        survey.features.push(Feature {
            name: format!("member {}", missing.name),
            present: false,
            required,
            purpose: if required { "reading sockets and tasks" } else { "exact times and positions" }
                .to_owned(),
            advice: "report this kernel".to_owned(),
        });
    }
    if survey.works() {
        try_loading(&mut survey);
    }
    survey
}

/// Whether calls of Go programs can get their parents.
fn goroutines(survey: &mut Survey, kernel: &mut Kernel) {
    let there = fs::exists(PROBES).unwrap_or(false);
    let loaded = kernel.prepare_go();
    survey.features.push(Feature {
        name: "probes at functions (uprobes)".to_owned(),
        present: there && loaded.is_ok(),
        required: false,
        purpose: format!("parents of calls of Go programs, built by {} for x86-64", go::releases()),
        advice: match &loaded {
            Err(error) => format!("{error}: please report this kernel, and what --log-level debug adds"),
            Ok(_) => "use a kernel with CONFIG_UPROBE_EVENTS=y".to_owned(),
        },
    });
    match loaded {
        Ok(programs) => survey.programs.extend(programs),
        Err(error) => survey.verifier_log = error.verifier_log(),
    }
}

fn try_loading(survey: &mut Survey) {
    let options = Options {
        rules: u32::MAX,
        profile: survey.profile,
        scope: spandrel_common::event::SCOPE_TREE,
        policy: spandrel_common::sample::Policy::DEFAULT,
        inject: spandrel_common::inject::ALL,
    };
    match Kernel::load(&options) {
        Ok((mut kernel, _ring)) => {
            survey.features.push(Feature {
                name: "injection self-test".to_owned(),
                present: *kernel.injection() == Injection::On,
                required: false,
                purpose: "trace context in plain HTTP/1 requests, so that traces go on in the next service"
                    .to_owned(),
                advice: match kernel.injection() {
                    Injection::Refused(why) => why.clone(),
                    Injection::On | Injection::Off => String::new(),
                },
            });
            survey.programs =
                kernel.run_time().iter().map(|program| (program.program, program.instructions)).collect();
            goroutines(survey, &mut kernel);
        }
        Err(error) => {
            survey.failure = Some(error.to_string());
            survey.verifier_log = error.verifier_log();
        }
    }
}
