package service

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// published makes a module proxy of a folder, with this repository's modules as v0.1.0, and
// returns the environment in which the go command uses it. Other modules come from the cache
// of this machine, and where they are not there from the usual proxy.
func published(t *testing.T) []string {
	t.Helper()
	var usual struct{ GOMODCACHE, GOPROXY string }
	if err := json.Unmarshal([]byte(goIn(t, ".", "env", "-json", "GOMODCACHE", "GOPROXY")), &usual); err != nil {
		t.Fatal(err)
	}
	proxy := t.TempDir()
	for path, folder := range map[string]string{
		"github.com/seqheal/seqheal": "../..", "github.com/seqheal/seqheal/plugin/metrics": "../../plugin/metrics", "github.com/seqheal/seqheal/plugin/otel": "../../plugin/otel",
	} {
		publish(t, filepath.Join(proxy, filepath.FromSlash(path), "@v"), path, folder)
	}
	return []string{
		"GOPROXY=file://" + proxy + ",file://" + filepath.ToSlash(usual.GOMODCACHE) + "/cache/download," + usual.GOPROXY,
		"GOMODCACHE=" + filepath.Join(t.TempDir(), "cache"), // not the machine's: v0.1.0 is not published yet
		"GOSUMDB=off", "GOWORK=off", "GOFLAGS=-buildvcs=false -modcacherw -mod=mod",
	}
}

// publish writes what a proxy serves of a module: its version, go.mod and files, without the
// modules inside it. The published go.mod has no replace.
func publish(t *testing.T, at, path, folder string) {
	t.Helper()
	const version = "v0.1.0"
	mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"list": version, version + ".info": `{"Version": "` + version + `", "Time": "2026-01-01T00:00:00Z"}`, version + ".mod": string(mod),
	} {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	writer := zip.NewWriter(archive)
	err = filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, inner := os.Stat(filepath.Join(file, "go.mod"))
			if file != folder && (inner == nil || strings.HasPrefix(entry.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if name := filepath.Ext(file); name != ".go" && name != ".mod" && name != ".sum" && filepath.Base(filepath.Dir(file)) != "status" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		entryIn, err := writer.Create(fmt.Sprintf("%s@%s/%s", path, version, filepath.ToSlash(relative)))
		if err == nil {
			_, err = entryIn.Write(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}
