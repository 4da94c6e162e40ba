package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// programs is a .txz of bin/initdb, bin/pg_ctl and bin/postgres, scripts that fail.
const programs = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/ALVdADEaShsFkZA3OlG9V3Gz1uIDp1blt7B8uc1S3lA4UQK0b/PawppfIyWxkofTkBx37TQzPBSP5oPQF3Nks2lO1ImQ/rlcDZsTHmiY3RLXN4zQxeDPdaxnRb7+E3gybF7ntpVC1z6SON6iJoGtaRJYj3ajAH0PkOhHmstQRvCNc3xoFUzxUwKQIqpy/0Td9JzCNgQljeDeXlhH9pnmg1BixUgd+Wdq9P63ITf5wSxdFhSuhU5DMgAAAAAAcgZmQWYuK/gAAdEBgFAAAGyqsqaxxGf7AgAAAAAEWVo="

// repository serves a jar that holds an archive, with its checksum, and nothing if empty.
func repository(t *testing.T, archive []byte) embedded.Config {
	t.Helper()
	var jar bytes.Buffer
	writer := zip.NewWriter(&jar)
	file, err := writer.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch sum := sha256.Sum256(jar.Bytes()); {
		case archive == nil:
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, ".sha256"):
			_, _ = w.Write([]byte(hex.EncodeToString(sum[:])))
		default:
			_, _ = w.Write(jar.Bytes())
		}
	}))
	t.Cleanup(server.Close)
	return embedded.DefaultConfig().BinaryRepositoryURL(server.URL).CachePath(t.TempDir())
}

func TestFetch_unpacksTheProgramsAndStartsNothing(t *testing.T) {
	archive, err := base64.StdEncoding.DecodeString(programs)
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	folder := filepath.Join(t.TempDir(), "programs")
	if err := fetch(folder, repository(t, archive)); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		info, err := os.Stat(filepath.Join(folder, "bin", program))
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: %v, %v", program, info, err)
		}
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if got := os.Getenv("TMPDIR"); got != temporary {
		t.Errorf("TMPDIR is %s", got)
	}
}

func TestFetch_saysWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		archive []byte
		want    string
	}{
		"no such version": {nil, "no version found matching"},
		"no archive":      {[]byte("nonsense"), "unable to extract"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "programs")
			if err := fetch(folder, repository(t, test.archive)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
