//! What a process runs on: it decides which evidence of causality is sound (ARCHITECTURE.md, "Who caused this request").

macro_rules! runtimes {
    ($($(#[$doc:meta])* $name:ident = $value:literal $label:literal;)*) => {
        /// A runtime. The value of the map `RUNTIMES`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Runtime { $($(#[$doc])* $name = $value,)* }

        impl Runtime {
            /// Every runtime.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The runtime for a byte of a map; unknown ones are [`Runtime::Unknown`].
            pub const fn from_u8(byte: u8) -> Self {
                match byte { $($value => Self::$name,)* _ => Self::Unknown }
            }

            /// How it is called in logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

runtimes! {
    /// Not looked at yet.
    #[default]
    Unknown = 0 "unknown";
    /// None of the others: a native program.
    Native = 1 "native";
    Go = 2 "Go";
    Node = 3 "Node.js";
    Jvm = 4 "JVM";
    CPython = 5 "CPython";
    Ruby = 6 "Ruby";
    Php = 7 "PHP";
    /// A Rust program with the tokio runtime in it.
    Tokio = 8 "tokio";
    Nginx = 9 "nginx";
    DotNet = 10 ".NET";
    /// Erlang's virtual machine.
    Beam = 11 "BEAM";
    /// Another runtime that moves tasks between threads, or proxies by event loops (envoy, haproxy).
    Loops = 12 "event loops";
}

impl Runtime {
    /// Its sockets never block in a call: it is told when there is something to read.
    #[inline]
    pub const fn never_blocks(self) -> bool {
        matches!(self, Self::Go | Self::Node | Self::Nginx)
    }

    /// Threads run what a scheduler of the program's own gives them, so what a thread read says nothing about what it
    /// writes later.
    #[inline]
    pub const fn schedules(self) -> bool {
        matches!(
            self,
            Self::Go | Self::Node | Self::Tokio | Self::Nginx | Self::DotNet | Self::Beam | Self::Loops
        )
    }
}
