//! Tests of both logs from outside: on real files, through their handles.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod har;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod support;
