package cli

import (
	"github.com/urfave/cli/v2"
)

// The scripts ask the command itself for candidates, so they never go stale. They
// run it with the words typed so far as they are, without eval: a word may hold
// anything.
const (
	bashCompletion = `# Completion of coderclaw for bash. To use it:  source <(coderclaw completion bash)
_coderclaw() {
  local cur="${COMP_WORDS[COMP_CWORD]}" line
  local -a words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ "$cur" == -* ]] && words+=("$cur")
  COMPREPLY=()
  while IFS= read -r line; do
    [[ "$line" == "$cur"* ]] && COMPREPLY+=("$line")
  done < <("${words[@]}" --generate-bash-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _coderclaw coderclaw
`
	zshCompletion = `#compdef coderclaw
# Completion of coderclaw for zsh. To use it:  source <(coderclaw completion zsh)
_coderclaw() {
  local cur="${words[CURRENT]}"
  local -a asked candidates
  asked=("${words[@]:0:$((CURRENT-1))}")
  [[ "$cur" == -* ]] && asked+=("$cur")
  candidates=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${candidates[1]}" ]]; then
    _describe 'coderclaw' candidates
  else
    _files
  fi
}
compdef _coderclaw coderclaw
`
)

func (a *App) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Category:  categoryTools,
		Usage:     "print the completion script of a shell",
		UsageText: "source <(coderclaw completion bash|zsh)\n   coderclaw completion fish | source",
		ArgsUsage: "bash|zsh|fish",
		BashComplete: func(*cli.Context) {
			a.out.printf("bash\nzsh\nfish\n")
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("completion takes one shell: bash, zsh or fish")
			}
			switch shell := c.Args().First(); shell {
			case "bash":
				a.out.printf("%s", bashCompletion)
			case "zsh":
				a.out.printf("%s", zshCompletion)
			case "fish":
				script, err := a.root.ToFishCompletion()
				if err != nil {
					return err
				}
				a.out.printf("%s", script)
			case "":
				return usagef("which shell? coderclaw completion bash, zsh or fish")
			default:
				return usagef("no completion for %q: want bash, zsh or fish", shell)
			}
			return nil
		},
	}
}
