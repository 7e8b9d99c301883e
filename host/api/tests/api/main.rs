//! Tests of the API from outside: requests go through the router, services are the real ones on a store
//! in memory, and what is below them (runtime, broker, network) are fakes in `world`.

#[cfg(test)]
mod access;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod document;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod logged;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod problems;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod releases;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod standing;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod there;
#[cfg(test)]
mod unseen;
#[cfg(test)]
mod ways;
#[cfg(test)]
mod world;
