package presence

import (
	"os"
	"runtime"
	"strings"
)

// platform names the operating system and, where the kernel tells it, its
// release, such as "linux 6.8.0".
func platform() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
	return runtime.GOOS + " " + version
}

func deviceFamily() string {
	switch runtime.GOOS {
	case "darwin":
		return "Mac"
	case "windows":
		return "Windows"
	case "linux":
		return "Linux"
	}
	return runtime.GOOS
}

// modelIdentifier names the processor as existing clients know it.
func modelIdentifier() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}
