package api

import "github.com/sealpost/sealpost"

// scopeNames are the words of scopes in API keys, in the order of their bits.
var scopeNames = [...]struct {
	scope sealpost.Scope
	name  string
}{
	{sealpost.ScopeSend, "send"},
	{sealpost.ScopeRead, "read"},
	{sealpost.ScopeEnrol, "enrol"},
	{sealpost.ScopeManage, "manage"},
}

// ScopeNames gives the words of a set of scopes, in the order of their bits.
func ScopeNames(scopes sealpost.Scope) []string {
	names := []string{}
	for _, s := range scopeNames {
		if scopes&s.scope != 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// ParseScopes reads what [ScopeNames] writes, in any order: at least one word,
// none twice, none unknown.
func ParseScopes(names []string) (sealpost.Scope, error) {
	var scopes sealpost.Scope
	for _, name := range names {
		s := scopeNamed(name)
		if s == 0 || scopes&s != 0 {
			return 0, ErrMalformed.With("scopes are send, read, enrol and manage, none twice").At("/scopes")
		}
		scopes |= s
	}
	if scopes == 0 {
		return 0, ErrMalformed.With("an API key needs at least one scope").At("/scopes")
	}
	return scopes, nil
}

func scopeNamed(name string) sealpost.Scope {
	for _, s := range scopeNames {
		if s.name == name {
			return s.scope
		}
	}
	return 0
}
