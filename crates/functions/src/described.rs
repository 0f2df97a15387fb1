//! Settings as the domain file describes them.

mod firewall;
mod logger;

use ringmail_model::domain::{self, DpiAction, Function, FunctionKind};

use crate::settings::{BuildError, DpiRule, DpiSettings, OnMatch, Pattern, Settings};

impl TryFrom<&Function> for Settings {
    type Error = BuildError;

    fn try_from(function: &Function) -> Result<Settings, BuildError> {
        match (function.kind, &function.dpi) {
            (FunctionKind::Forward, _) => Ok(Settings::Forward),
            (FunctionKind::Attached, _) => Err(BuildError::Attached),
            (FunctionKind::Dpi, None) => Err(BuildError::NoRules),
            (FunctionKind::Dpi, Some(dpi)) => {
                let rules = dpi.rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
                Ok(Settings::Dpi(DpiSettings {
                    connections: dpi.limits.connections as usize,
                    stream_bytes: usize::try_from(dpi.limits.stream_bytes).unwrap_or(usize::MAX),
                    ..DpiSettings::new(rules)
                }))
            }
            (FunctionKind::Firewall, _) => {
                let firewall = function.firewall.as_ref().ok_or(BuildError::NoRules)?;
                firewall::settings(firewall, function.intrusive).map(Settings::Firewall)
            }
            (FunctionKind::Logger, _) => {
                let logger = function.logger.as_ref().ok_or(BuildError::NoFolder)?;
                Ok(Settings::Logger(logger::settings(logger)))
            }
        }
    }
}

fn rule(described: &domain::DpiRule) -> Result<DpiRule, BuildError> {
    let name = described.name.to_string();
    let pattern = match described.pattern() {
        Ok(domain::Pattern::Literal(bytes)) => Pattern::Bytes(bytes),
        Ok(domain::Pattern::Regex(regex)) => Pattern::Regex(regex),
        Err(_) => return Err(BuildError::EmptyPattern { rule: name }),
    };
    let on_match = match described.action {
        DpiAction::Alert => OnMatch::Alert,
        DpiAction::Drop => OnMatch::Drop,
        DpiAction::Reset => OnMatch::Reset,
    };
    Ok(DpiRule {
        name,
        pattern,
        ignore_case: described.ignore_case,
        ports: described.ports.clone(),
        on_match,
    })
}

#[cfg(test)]
mod tests {
    use ringmail_model::domain::DpiLimits;

    use super::*;

    #[test]
    fn every_setting_of_the_domain_file_arrives() {
        let rule = domain::DpiRule {
            name: "r1".parse().expect("a name"),
            bytes: None,
            hex: Some("de ad".to_owned()),
            regex: None,
            ignore_case: true,
            ports: vec![80],
            action: DpiAction::Reset,
        };
        let limits = DpiLimits { connections: 5, stream_bytes: 4096 };
        let mut function = Function {
            name: "sf1".parse().expect("a name"),
            kind: FunctionKind::Dpi,
            intrusive: true,
            dpi: Some(domain::DpiSettings { rules: vec![rule], limits }),
            attached: None,
            firewall: None,
            replicas: None,
            logger: None,
            metadata: Vec::new(),
            may_add: Vec::new(),
            workers: None,
            address: None,
            label: None,
        };
        let expected = DpiSettings {
            connections: 5,
            stream_bytes: 4096,
            ..DpiSettings::new(vec![DpiRule {
                name: "r1".to_owned(),
                pattern: Pattern::Bytes(vec![0xde, 0xad]),
                ignore_case: true,
                ports: vec![80],
                on_match: OnMatch::Reset,
            }])
        };
        assert_eq!(Settings::try_from(&function), Ok(Settings::Dpi(expected)));
        function.dpi = None;
        assert_eq!(Settings::try_from(&function), Err(BuildError::NoRules));
        function.kind = FunctionKind::Forward;
        assert_eq!(Settings::try_from(&function), Ok(Settings::Forward));
    }
}
