package app

import "runtime/debug"

// Version is the release of this source tree. CHANGELOG.md describes the releases.
const Version = "0.1.0"

// Commit returns the first 12 digits of the commit that the binary was built from, with "-dirty"
// if the working tree had changes. It is empty if the build recorded none.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var commit, suffix string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				suffix = "-dirty"
			}
		}
	}
	if commit == "" {
		return ""
	}
	return commit + suffix
}

// Revision identifies the code of this binary: the version and, if it is known, the commit. A
// bundle names the revision that trained it.
func Revision() string {
	if commit := Commit(); commit != "" {
		return Version + "+" + commit
	}
	return Version
}
