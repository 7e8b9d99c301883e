//! Pages and outcomes as JSON. What a connector gave as JSON stays the text that it gave.

use keyway_core::call::{Extra, Json, Outcome, Output, Page, Record, Written};
use keyway_core::{Code, Fault, Retry};
use serde_json::value::RawValue;

use crate::contract::call as contract;
use crate::problem::{cut, millis, wait};

/// Bytes of JSON that have to be looked at once more. What is one JSON text goes on as it is.
pub(super) fn bytes(output: &Output) -> usize {
    let of = |data: &Option<Json>| data.as_ref().map_or(0, String::len);
    match output {
        Output::Json(_) => 0,
        Output::Page(page) => {
            page.records.iter().map(|record| record.data.len()).sum::<usize>() + of(&page.next)
        }
        Output::Outcomes(outcomes) => {
            let written = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
            written.map(|written| of(&written.data)).sum()
        }
    }
}

pub(super) fn page(page: Page) -> Result<contract::Page, Fault> {
    Ok(contract::Page {
        records: page.records.into_iter().map(record).collect::<Result<_, _>>()?,
        next: page.next.map(raw).transpose()?,
        extra: extra(page.extra),
    })
}

pub(super) fn outcomes(outcomes: Vec<Outcome>) -> Result<contract::Outcomes, Fault> {
    let outcomes = outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?;
    Ok(contract::Outcomes { outcomes })
}

fn record(record: Record) -> Result<contract::Record, Fault> {
    let Record { id, updated_at, deleted, data, extra: pairs } = record;
    Ok(contract::Record { id, updated_at, deleted, data: raw(data)?, extra: extra(pairs) })
}

fn outcome(outcome: Outcome) -> Result<contract::Outcome, Fault> {
    let (written, refused) = match outcome.result {
        Ok(Written { id, data, extra: pairs }) => {
            let (data, extra) = (data.map(raw).transpose()?, extra(pairs));
            (Some(contract::Written { id, data, extra }), None)
        }
        Err(failure) => (None, Some(refused(failure.into()))),
    };
    Ok(contract::Outcome { reference: outcome.reference, written, refused })
}

fn refused(fault: Fault) -> contract::Refused {
    contract::Refused {
        code: fault.code.as_str().to_owned(),
        detail: cut(&fault.detail).to_owned(),
        retry: fault.retry != Retry::No,
        retry_after_ms: wait(fault.retry).map(millis),
        provider_code: fault.provider_code.as_deref().map(|code| cut(code).to_owned()),
        request_sent: fault.request_sent,
        extra: extra(fault.extra.to_vec()),
    }
}

fn extra(pairs: Extra) -> Vec<contract::Extra> {
    pairs.into_iter().map(Into::into).collect()
}

fn raw(text: Json) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(text).map_err(|error| {
        Fault::new(Code::GuestOutputInvalid, "the connector answered what is no JSON")
            .caused_by(error)
    })
}
