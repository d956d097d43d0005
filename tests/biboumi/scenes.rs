//! The scripts.

mod asking;
mod inspircd;
mod power;
mod rooms;
mod talk;

/// A test for each script of a file, of the same name.
macro_rules! scenarios {
    ($($(#[$meta:meta])* $name:ident $plan:expr;)*) => { $(
        #[tokio::test]
        async fn $name() {
            crate::both(stringify!($name), $plan, scripts::$name).await;
        }
    )* };
}
pub(crate) use scenarios;
