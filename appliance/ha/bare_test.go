package ha_test

import (
	"testing"
	"time"

	"pgapp/appliance/ha"
)

// TestDecideOnAPrimaryWithoutFiles has a primary whose sessions go on with the files that they
// have open, while it lets nobody in.
func TestDecideOnAPrimaryWithoutFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ill   func(*scene)
		deed  ha.Deed
		after time.Duration
		says  string
	}{
		{"a standby is fit", func(*scene) {}, ha.Replace, 3 * time.Second, "node0 has lost its files: /data/base is missing"},
		{"the disk is full", func(c *scene) { c.member("node0").Full = true }, "", 0, "make room"},
		{"nobody can be promoted, and a restart brings no files back", func(c *scene) {
			c.member("node1").Standing.Identifier, c.member("node2").Standing.Identifier = "8", "8"
		}, "", 0, "brings no files back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newScene()
			c.member("node0").Missing = "/data/base"
			tt.ill(c)
			c.decides(t, tt.deed, tt.after, tt.says)
		})
	}
}
