//! `spandrel doctor`: what works on this kernel, what does not, and what to do about it.

use std::fmt::Write as _;

use serde_json::json;

use crate::{
    config::mistake::exit,
    kernel::{
        Profile,
        features::{self, Survey},
    },
};

/// What was found, ready to be shown.
#[derive(Debug)]
pub struct Findings(Survey);

/// Looks at this kernel.
pub fn examine() -> Findings {
    Findings(features::survey())
}

impl Findings {
    /// 0 if the main job works.
    pub fn code(&self) -> u8 {
        if self.0.works() { 0 } else { exit::UNAVAILABLE }
    }

    /// For people.
    pub fn text(&self) -> String {
        // Writing to a string does not fail.
        let Survey { release, profile, features, programs, failure, .. } = &self.0;
        let mut out = format!("Linux {release}");
        if let Some(profile) = profile {
            write!(out, ", {} profile", profile.label()).ok();
        }
        out.push('\n');
        for feature in features {
            let mark = match (feature.present, feature.required) {
                (true, _) => "ok      ",
                (false, true) => "MISSING ",
                (false, false) => "absent  ",
            };
            write!(out, "  {mark} {:<34} {}", feature.name, feature.purpose).ok();
            if !feature.present {
                write!(out, " ({})", feature.advice).ok();
            }
            out.push('\n');
        }
        for (program, instructions) in programs {
            // Kernels before 5.16 do not tell.
            if *instructions > 0 {
                writeln!(out, "  loaded   {program:<34} {instructions} instructions verified").ok();
            } else {
                writeln!(out, "  loaded   {program}").ok();
            }
        }
        out.push_str(match (failure, self.0.works()) {
            (_, true) => "HTTP/1.1 of any program can be traced here: sudo spandrel run\n",
            (None, false) => "Nothing can be traced here: what is MISSING above is needed.\n",
            (Some(_), false) => "Nothing can be traced here: ",
        });
        if let Some(failure) = failure {
            writeln!(out, "{failure}").ok();
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> String {
        let Survey { release, profile, features, programs, failure, verifier_log } = &self.0;
        let features: Vec<_> = features
            .iter()
            .map(|feature| {
                json!({
                    "name": feature.name,
                    "present": feature.present,
                    "required": feature.required,
                    "purpose": feature.purpose,
                    "advice": feature.advice,
                })
            })
            .collect();
        let programs: Vec<_> = programs
            .iter()
            .map(|(program, instructions)| json!({"name": program, "verified_instructions": instructions}))
            .collect();
        let all = json!({
            "kernel_release": release,
            "profile": profile.map(Profile::label),
            "works": self.0.works(),
            "failure": failure,
            "verifier_log": verifier_log,
            "features": features,
            "programs": programs,
        });
        format!("{all:#}\n")
    }
}
