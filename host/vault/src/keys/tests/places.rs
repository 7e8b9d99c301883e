//! Sealed values and rows of data keys that were changed, cut, copied or moved.

use super::*;

/// Where the data key's id is in a sealed value, after magic, format and algorithm.
const ID: std::ops::Range<usize> = 6..14;

#[tokio::test]
async fn cut_and_flipped_values_do_not_open() {
    let keys = keys(&store(), ring(&[("a", 1)]));
    let sealed = seal(&keys, "acme").await.unwrap();
    opens(&keys, "acme", &sealed).await.unwrap();
    assert!(sealed.len() > 40 + 1);
    for length in 0..sealed.len() {
        assert!(opens(&keys, "acme", &sealed[..length]).await.is_err(), "cut to {length}");
    }
    assert!(opens(&keys, "acme", &[&sealed[..], &[0]].concat()).await.is_err());
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = opens(&keys, "acme", &bad).await.unwrap_err();
        let expected = match bit / 8 {
            0..=4 => matches!(error, SealError::Format),
            5 => matches!(error, SealError::Algorithm(_)),
            6..=13 => matches!(error, SealError::Key(Error::DataKeyMissing { .. })),
            _ => matches!(error, SealError::Authentication),
        };
        assert!(expected, "bit {bit}: {error:?}");
    }
}

#[tokio::test]
async fn what_was_sealed_with_another_version_of_the_format_is_said() {
    let keys = keys(&store(), ring(&[("a", 1)]));
    let sealed = seal(&keys, "acme").await.unwrap();
    let with = |at: usize, byte: u8| {
        let mut other = sealed.clone();
        other[at] = byte;
        other
    };
    let said = async |sealed: Vec<u8>| opens(&keys, "acme", &sealed).await.unwrap_err().to_string();
    assert_eq!(said(with(4, 2)).await, "sealed value has an unknown format");
    assert_eq!(said(with(5, 9)).await, "sealed value has the unknown algorithm 9");
    let former = [b"KWS1".as_slice(), &[0; 60]].concat();
    assert_eq!(said(former).await, "sealed value has an unknown format");
}

#[tokio::test]
async fn a_value_opens_in_its_place_only() {
    let keys = keys(&store(), ring(&[("a", 1)]));
    let sealer = Sealer::new(keys.clone());
    let here = Names::of("acme").with(|names| names.user = Some("ann".parse().unwrap()));
    let place = here.place(Field::Credential, 3);
    let sealed = sealer.seal(place, b"s3cret").await.unwrap();
    assert_eq!(sealer.open(place, &sealed).await.unwrap().as_slice(), b"s3cret");
    let elsewhere = [
        here.clone().with(|names| names.environment = "prod".parse().unwrap()),
        here.clone().with(|names| names.tenant = Some("other".parse().unwrap())),
        here.clone().with(|names| names.tenant = None),
        here.clone().with(|names| names.connector = "keyway/salesforce".parse().unwrap()),
        here.clone().with(|names| names.slot = "key".parse().unwrap()),
        here.clone().with(|names| names.user = Some("bob".parse().unwrap())),
        here.clone().with(|names| names.user = None),
    ];
    for names in &elsewhere {
        // Everybody there has a data key, so that it is not the want of one that stops it.
        keys.current(&names.owner()).await.unwrap();
        let error = sealer.open(names.place(Field::Credential, 3), &sealed).await.unwrap_err();
        assert!(matches!(error, SealError::Authentication), "{error:?}");
    }
    for (field, version) in [(Field::Credential, 2), (Field::Credential, 4), (Field::Tokens, 3)] {
        let error = sealer.open(here.place(field, version), &sealed).await.unwrap_err();
        assert!(matches!(error, SealError::Authentication), "{error:?}");
    }
}

/// Fails if the associated data leaves out a part that the owner's check also looks at: here the check is
/// passed, because the value names the right owner's data key.
#[tokio::test]
async fn a_value_that_names_another_data_key_does_not_open() {
    let keys = keys(&store(), ring(&[("a", 1)]));
    let sealed = seal(&keys, "acme").await.unwrap();
    let foreign = seal(&keys, "other").await.unwrap();
    keys.rotate_data_keys(&Which::All, &"ann".parse().unwrap()).await.unwrap();
    let later = seal(&keys, "acme").await.unwrap();
    for id in [&foreign[ID], &later[ID]] {
        assert_ne!(&sealed[ID], id);
        let mut bad = sealed.clone();
        bad[ID].copy_from_slice(id);
        let error = opens(&keys, "acme", &bad).await.unwrap_err();
        assert!(matches!(error, SealError::Authentication), "{error:?}");
    }
}

#[tokio::test]
async fn the_same_value_never_looks_the_same() {
    let keys = keys(&store(), ring(&[("a", 1)]));
    let (one, two) = (seal(&keys, "acme").await.unwrap(), seal(&keys, "acme").await.unwrap());
    assert_eq!(one[ID], two[ID], "the same key");
    assert_ne!(one[ID.end..], two[ID.end..]);
    opens(&keys, "acme", &one).await.unwrap();
    opens(&keys, "acme", &two).await.unwrap();
}

/// Writes over a cell, as somebody with a hand in the store would.
async fn put(store: &Store, space: &str, key: &[u8], value: &[u8]) {
    let version = store.cell(space, key).await.unwrap().map(|cell| cell.version);
    store.batch().put_cell(space, key, version, value.to_vec()).commit().await.unwrap();
}

async fn row(store: &Store, id: &[u8]) -> Vec<u8> {
    store.cell(DATA_KEYS, id).await.unwrap().unwrap().value.to_vec()
}

#[tokio::test]
async fn a_row_of_another_data_key_does_not_unwrap() {
    let store = store();
    let host = keys(&store, ring(&[("a", 1)]));
    let (acme, other) = (seal(&host, "acme").await.unwrap(), seal(&host, "other").await.unwrap());
    // Acme's row where the other's is: its wrapping says whose it is, and which.
    put(&store, DATA_KEYS, &other[ID], &row(&store, &acme[ID]).await).await;
    let host = started(&store, ring(&[("a", 1)])).await.unwrap();
    let error = opens(&host, "other", &other).await.unwrap_err();
    assert!(matches!(error, SealError::Unavailable(Error::Damaged { .. })), "{error:?}");
    assert_eq!(error.clone().fault("x").code, Code::Internal, "it does not pass by itself");
    seal(&host, "other").await.unwrap_err();
    opens(&host, "acme", &acme).await.unwrap();
}

/// Each field of the row, changed by hand; the start is refused only where the host would go on with a wrong key.
#[tokio::test]
async fn a_changed_row_does_not_unwrap() {
    let store = store();
    let host = keys(&store, ring(&[("a", 1)]));
    let sealed = seal(&host, "acme").await.unwrap();
    let good = String::from_utf8(row(&store, &sealed[ID]).await).unwrap();
    let check = good.split("\"check\":\"").nth(1).unwrap()[..64].to_owned();
    let flipped = if check.starts_with('0') { "1" } else { "0" };
    let flipped = format!("{flipped}{}", &check[1..]);
    let damaged: &[(&str, &str)] = &[
        ("\"format\":1", "\"format\":2"),
        ("\"dev\"", "\"prod\""),
        ("\"acme\"", "\"other\""),
        ("\"wrapped\":\"", "\"wrapped\":\"AAAA"),
        ("\"wrapped\":\"", "\"wrapped\":\"*"),
        ("\"check\":\"", "\"check\":\"x"),
        ("{", "["),
    ];
    for (from, to) in damaged {
        assert!(good.contains(from), "{from}: {good}");
        put(&store, DATA_KEYS, &sealed[ID], good.replacen(from, to, 1).as_bytes()).await;
        let host = started(&store, ring(&[("a", 1)])).await.unwrap();
        let error = opens(&host, "acme", &sealed).await.unwrap_err();
        assert!(matches!(error, SealError::Unavailable(Error::Damaged { .. })), "{to}: {error:?}");
    }
    put(&store, DATA_KEYS, &sealed[ID], good.replace(&check, &flipped).as_bytes()).await;
    let error = started(&store, ring(&[("a", 1)])).await.unwrap_err();
    assert!(matches!(error, Error::DataKeyDiffers { .. }), "{error:?}");
    put(&store, DATA_KEYS, &sealed[ID], good.replace("\"a\"", "\"b\"").as_bytes()).await;
    let error = started(&store, ring(&[("a", 1)])).await.unwrap_err();
    assert!(matches!(error, Error::SealingKeysMissing(_)), "{error:?}");
    put(&store, DATA_KEYS, &sealed[ID], good.as_bytes()).await;
    let host = started(&store, ring(&[("a", 1)])).await.unwrap();
    opens(&host, "acme", &sealed).await.unwrap();
}

/// An exchange mends what damage left without a data key; what was sealed before stays lost.
#[tokio::test]
async fn whose_data_key_is_damaged_can_have_another() {
    let store = store();
    let host = keys(&store, ring(&[("a", 1)]));
    let sealed = seal(&host, "acme").await.unwrap();
    let foreign = seal(&host, "other").await.unwrap();
    let pointer = Names::of("acme").owner().cell();
    for bad in [&b"short"[..], &[7; 8], &foreign[ID]] {
        put(&store, CURRENT, &pointer, bad).await;
        let host = started(&store, ring(&[("a", 1)])).await.unwrap();
        seal(&host, "acme").await.unwrap_err();
        opens(&host, "acme", &sealed).await.unwrap();
        let which = Which::Tenant("dev".parse().unwrap(), "acme".parse().unwrap());
        let rotated = host.rotate_data_keys(&which, &"ann".parse().unwrap()).await.unwrap();
        assert_eq!(rotated.data_keys, 1);
        let sealed = seal(&host, "acme").await.unwrap();
        let host = started(&store, ring(&[("a", 1)])).await.unwrap();
        opens(&host, "acme", &sealed).await.unwrap();
    }
}
