/** Completions are asked for as a shell asks: the script is read, and the shell says what it would offer. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile, spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { commands } from "../../cli/commands.js"
import { leaves } from "../../cli/tree.js"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const isInstalled = (shell: string): boolean => spawnSync(shell, ["-c", "exit 0"]).status === 0

/** What a shell prints. */
const ask = (shell: string, args: ReadonlyArray<string>, cwd: string) =>
  Effect.async<ReadonlyArray<string>, Error>((resume) => {
    const child = execFile(shell, [...args], { cwd, encoding: "utf8" }, (error, stdout, stderr) =>
      resume(
        error !== null || stderr !== ""
          ? Effect.fail(error ?? new Error(stderr))
          : Effect.succeed(stdout.split(/\r?\n/).filter((line) => line !== ""))
      )
    )
    child.stdin?.end()
  })

/** Lines that follow a heading, by heading. */
const byHeading = (lines: ReadonlyArray<string>): ReadonlyMap<string, ReadonlyArray<string>> => {
  const completionsByCommand = new Map<string, Array<string>>()
  let current: Array<string> = []
  for (const line of lines) {
    if (line.startsWith("== ")) {
      current = []
      completionsByCommand.set(line.slice(3).replace(/\|$/, ""), current)
    } else {
      current.push(line)
    }
  }
  return completionsByCommand
}

const top = [...new Set(Object.keys(commands).map((name) => name.split(" ")[0] ?? ""))]

const optionsOf = (name: string): ReadonlyArray<string> => [
  ...(leaves.find(({ path }) => path.join(" ") === name)?.options ?? []).map((option) => `--${option.name}`),
  "--help"
]

/** The line before the cursor, and what is offered: where a shell offers nothing of ours, the empty list. */
const cases: ReadonlyArray<readonly [line: string, offered: ReadonlyArray<string>]> = [
  ["threadline ", top],
  ["threadline tim", ["timeline"]],
  ["threadline trans", ["transactions", "transaction"]],
  ["threadline capture ", ["plan", "apply", "remove", "status", "print"]],
  ["threadline migrate s", ["status"]],
  ["threadline --limit 5 --json capture p", ["plan", "print"]],
  ["threadline timeline --", optionsOf("timeline")],
  ["threadline timeline --act", ["--action", "--action-status", "--actor", "--actor-label"]],
  ["threadline capture plan --pru", ["--prune"]],
  ["threadline timeline --order ", ["newest", "oldest"]],
  ["threadline timeline --json --order o", ["oldest"]],
  ["threadline timeline --op u", ["update"]],
  ["threadline feed --from ", ["beginning", "now"]],
  ["threadline timeline --limit ", []],
  ["threadline actor ", ["user", "admin", "service_account", "job", "system", "anonymous"]],
  ["threadline actor --limit 5 s", ["service_account", "system"]],
  ["threadline actor user ", []],
  ["threadline history actor ", []],
  ["threadline completions f", ["fish"]],
  ["threadline migrate generate --output ", ["made"]],
  ["threadline timeline --config thr", ["threadline.config.json"]]
]

const sorted = (words: Iterable<string>): ReadonlyArray<string> => [...words].sort()

const check = (
  found: ReadonlyMap<string, ReadonlyArray<string>>,
  asked: ReadonlyArray<readonly [line: string, offered: ReadonlyArray<string>]>
) => {
  for (const [line, offered] of asked) {
    expect(sorted(found.get(line) ?? ["nothing was asked"]), line).toEqual(sorted(offered))
  }
}

/** A directory with the script of a shell, and with something to name. */
const place = (shell: string, file: string) =>
  Effect.gen(function* () {
    const script = yield* Cli.text(["completions", shell])
    return yield* scratch({ [file]: script, "made/x": "", "threadline.config.json": "{}" })
  })

describe("completions", () => {
  it.scoped("for bash offer commands, options and the values there are", () =>
    Effect.gen(function* () {
      const cwd = yield* place("bash", "script")
      const asked: typeof cases = [
        ...cases,
        // As bash breaks words.
        ["threadline timeline --order =", ["newest", "oldest"]],
        ["threadline timeline --order = n", ["newest"]],
        ["threadline timeline --order = newest --actor user : 42 --un", ["--unattributed"]],
        ["threadline --url postgres : //a@b : 5432 capture ap", ["apply"]],
        ["threadline timeline --actor user : ", []]
      ]
      const questions = asked.map(([line]) => {
        const words = line.split(" ").map((word) => `'${word}'`)
        return `echo '== ${line}|'; COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}; _threadline 2>/dev/null
          printf '%s\n' "\${COMPREPLY[@]}"`
      })
      const script = ["source ./script", ...questions].join("\n")
      check(byHeading(yield* ask("bash", ["--noprofile", "--norc", "-c", script], cwd)), asked)
      expect(yield* ask("bash", ["-c", "source ./script; complete -p threadline"], cwd)).toEqual([
        "complete -F _threadline threadline"
      ])
    })
  )

  if (isInstalled("fish")) {
    it.scoped("for fish offer commands, options and the values there are", () =>
      Effect.gen(function* () {
        const cwd = yield* place("fish", "script")
        const questions = cases.map(([line]) => `echo '== ${line}|'; complete -C '${line}'`)
        const lines = yield* ask("fish", ["--no-config", "-c", ["source ./script", ...questions].join("\n")], cwd)
        // Each with what it is, and a directory with a slash.
        check(byHeading(lines.map((line) => line.replace(/\t.*$/, "").replace(/\/$/, ""))), cases)
      })
    )
  }

  if (isInstalled("zsh")) {
    it.scoped("for zsh offer commands, options and the values there are", () =>
      Effect.gen(function* () {
        const cwd = yield* place("zsh", "_threadline")
        writeFileSync(join(cwd, "terminal.zsh"), terminal)
        writeFileSync(join(cwd, "inside.zsh"), inside)
        // It takes options only behind the command that has them. Where nothing is added, as here, it goes on from directories to files.
        const asked = cases
          .filter(([line]) => !/^threadline --|--output/.test(line))
          .filter((_, index) => index % 2 === 0)
        for (const [line, offered] of asked) {
          const lines = yield* ask("zsh", ["-f", "terminal.zsh", line], cwd)
          const words = lines.flatMap((each) => /OFFER:(\S+)/.exec(each)?.[1] ?? [])
          expect(sorted(new Set(words)), line).toEqual(sorted(offered))
        }
      })
    )
  }

  it.effect("are one document with --json, and refuse a shell that there is not", () =>
    Effect.gen(function* () {
      expect(yield* Cli.json(["completions", "fish"])).toEqual({
        shell: "fish",
        script: yield* Cli.text(["completions", "fish"])
      })
      expect(yield* Cli.run(["completions", "bsh"])).toEqual(
        Cli.refusal(2, "SHELL is one of bash, zsh, fish; did you mean bash?")
      )
      expect(yield* Cli.run(["completions"])).toEqual(Cli.refusal(2, "SHELL is missing: threadline completions SHELL"))
    })
  )
})

/** Completion of zsh runs at a terminal only: this types a line and a tab at one. */
const terminal = String.raw`
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'source ./inside.zsh'
repeat 200; do zpty -r shell line; [[ $line == ready* ]] && break; done
zpty -w -n shell "$1"$'\t'
while zpty -r shell line; do print -r -- $line; done
`

/** Inside of it, what would be offered is printed, and the shell ends. */
const inside = String.raw`
PROMPT=
fpath=($PWD $fpath)
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
comppostfuncs=(exit)
zstyle ':completion:*' insert-tab false
compadd () {
  if [[ ${"$"}{@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
    builtin compadd "$@"
    return $?
  fi
  typeset -a offered
  builtin compadd -A offered "$@"
  [[ -n $offered ]] || return
  print -rl -- OFFER:${"$"}{^offered}
}
echo ready
`
