//! Settings as the domain file describes them.

use ringmail_model::domain::{self, DpiAction, Function, FunctionKind};

use crate::settings::{BuildError, DpiRule, DpiSettings, OnMatch, Pattern, Settings};

impl TryFrom<&Function> for Settings {
    type Error = BuildError;

    fn try_from(function: &Function) -> Result<Settings, BuildError> {
        match (function.kind, &function.dpi) {
            (FunctionKind::Forward, _) => Ok(Settings::Forward),
            (FunctionKind::Dpi, None) => Err(BuildError::NoRules),
            (FunctionKind::Dpi, Some(dpi)) => {
                let rules = dpi.rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
                Ok(Settings::Dpi(DpiSettings::new(rules)))
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
    Ok(DpiRule { name, pattern, on_match })
}
