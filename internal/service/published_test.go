package service

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// publish writes what a proxy serves of a module: its version, go.mod and files.
func publish(t *testing.T, at, path, folder string) {
	t.Helper()
	const version = "v0.1.0"
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(file string, content []byte) {
		if err := os.WriteFile(filepath.Join(at, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("list", []byte(version))
	write(version+".info", []byte(`{"Version": "`+version+`", "Time": "2026-01-01T00:00:00Z"}`))
	write(version+".mod", contents(t, filepath.Join(folder, "go.mod")))
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	for _, file := range filesOf(t, folder) {
		entry, err := writer.Create(path + "@" + version + "/" + filepath.ToSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write(contents(t, filepath.Join(folder, file))); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	write(version+".zip", archive.Bytes())
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// filesOf are the files of a module that a program needs, from its folder, without the
// modules inside it.
func filesOf(t *testing.T, folder string) (files []string) {
	t.Helper()
	needed := regexp.MustCompile(`\.(go|mod|sum|html|css|js)$`)
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != folder && (strings.HasPrefix(entry.Name(), ".") || isModule(file)):
			return fs.SkipDir
		case entry.IsDir() || !needed.MatchString(file):
			return nil
		}
		relative, err := filepath.Rel(folder, file)
		files = append(files, relative)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func isModule(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}
