package compat

import (
	"fmt"
	"maps"
	"slices"
)

// waive lets breaks through: all of them when the protocol version was raised, and
// those that a file of the new bundle names in x-waive as "<rule> <path>" with its
// reason. An entry that fits no break is told, so that it can be deleted.
func (c *comparison) waive() {
	raised := c.new.Protocol() > c.old.Protocol() && c.old.Protocol() > 0
	for _, file := range slices.Sorted(maps.Keys(c.new.files)) {
		for _, name := range slices.Sorted(maps.Keys(c.new.files[file].Waive)) {
			why := c.new.files[file].Waive[name]
			used := false
			for _, change := range c.found {
				if change.Level == Wire && string(change.Rule)+" "+change.Path == name && why != "" {
					change.Breaking, change.Waived, used = false, why, true
				}
			}
			if !used {
				c.report(Info, WaiverUnused, place{file: file}.at("x-waive", name), "waives nothing: delete it")
			}
		}
	}
	for _, change := range c.found {
		if raised && change.Breaking {
			change.Breaking, change.Waived = false, fmt.Sprintf("protocol %d", c.new.Protocol())
		}
	}
}
