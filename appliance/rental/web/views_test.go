package web

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
)

func TestTexts(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		title("ACADEMY DINOSAUR"): "Academy Dinosaur", title("O'BRIEN-SMITH"): "O'brien-Smith", title("ÉMILE"): "Émile", title("the Wire"): "the Wire", title(""): "",
		initials("academy of dinosaurs"): "AO", initials("Élan"): "É", initials(" "): "",
		behind(0): "up to date", behind(1023): "1023 bytes behind", behind(1024): "1.0 KiB behind", behind(3 << 19): "1.5 MiB behind", behind(1 << 63): "8388608.0 TiB behind",
		took(999 * time.Millisecond): "999 ms", took(1550 * time.Millisecond): "1.6 s",
		sentence("no copy left"): "No copy left.", sentence(""): "",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestReceiptsAreBounded(t *testing.T) {
	t.Parallel()
	var l receipts
	first := uuid.New()
	l.put(first, receipt{Kind: kindRent})
	l.put(first, receipt{Kind: kindPay})
	if r, ok := l.get(first); !ok || r.Kind != kindPay {
		t.Errorf("the receipt is %+v, %v", r, ok)
	}
	for range maxReceipts {
		l.put(uuid.New(), receipt{})
	}
	if _, ok := l.get(first); ok || len(l.kept) != maxReceipts || len(l.order) != maxReceipts {
		t.Errorf("%d receipts, the first kept: %v", len(l.kept), ok)
	}
}

func TestNewNeedsItsPages(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Pages: fstest.MapFS{}}); err == nil {
		t.Error("a site without pages is made")
	}
}
