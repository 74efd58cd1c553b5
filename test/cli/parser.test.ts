/**
 * The quirks of @effect/cli that cli/parser works around. For each: what the package does with the arguments of a user as they
 * are, so that a version without the quirk is noticed, and what the same arguments come to here.
 */
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import { describe, expect, it } from "@effect/vitest"
import * as NodeContext from "@effect/platform-node/NodeContext"
import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { commands } from "../../cli/commands.js"
import { read } from "../../cli/parser/read.js"
import { leaves, root } from "../../cli/tree.js"
import * as Cli from "../support/cli.js"

Cli.setup()

const reading = (...argv: ReadonlyArray<string>) => read(argv, leaves)

const runs = (...args: ReadonlyArray<string>) => Either.right({ _tag: "Run", args })

/** The values that the innermost command was given. */
const innermost = (parsed: unknown): unknown => {
  const sub = typeof parsed === "object" && parsed !== null && "subcommand" in parsed ? parsed.subcommand : undefined
  return Option.isOption(sub) && Option.isSome(sub) && Array.isArray(sub.value) ? innermost(sub.value[1]) : parsed
}

/** What the parser of @effect/cli makes of arguments: the values of the command and what it could not place, or undefined. */
const parse = (args: ReadonlyArray<string>) =>
  CommandDescriptor.parse(root.descriptor, ["threadline", ...args], CliConfig.defaultConfig).pipe(
    Effect.map((directive) =>
      directive._tag === "UserDefined"
        ? { values: innermost(directive.value), leftover: directive.leftover }
        : undefined
    ),
    Effect.orElseSucceed(() => undefined),
    Effect.provide(NodeContext.layer)
  )

/** What it makes of them when they were read here before. */
const parseRead = (argv: ReadonlyArray<string>) =>
  Either.match(reading(...argv), {
    onLeft: () => Effect.succeed(undefined),
    onRight: (invocation) => (invocation._tag === "Run" ? parse(invocation.args) : Effect.succeed(undefined))
  })

const given = (values: object) => ({ values: expect.objectContaining(values), leftover: [] })

describe("a quirk of @effect/cli", () => {
  const quirks: ReadonlyArray<{
    readonly quirk: string
    readonly argv: ReadonlyArray<string>
    readonly alone: unknown
    readonly here: unknown
  }> = [
    {
      quirk: "an option is taken only behind the name of its command",
      argv: ["--limit=5", "history", "posts", "1"],
      alone: undefined,
      here: given({ table: "posts", key: "1", limit: Option.some("5") })
    },
    {
      quirk: "a repeated option is left over if it is written with an equals sign",
      argv: ["capture", "plan", "--table=a", "--table=b"],
      alone: { values: expect.objectContaining({ table: [] }), leftover: ["--table=a", "--table=b"] },
      here: given({ table: ["a", "b"] })
    },
    {
      quirk: "a flag takes an argument behind it for its value",
      argv: ["history", "--json", "1", "posts"],
      alone: undefined,
      here: given({ table: "1", key: "posts", json: true })
    },
    {
      quirk: "an option with an empty value counts as not given",
      argv: ["timeline", "--table", ""],
      alone: given({ table: [] }),
      here: undefined
    },
    {
      quirk: "an option takes the option behind it for its value",
      argv: ["timeline", "--actor", "--json"],
      alone: given({ actor: Option.some("--json"), json: false }),
      here: undefined
    },
    {
      quirk: "a flag cannot be given twice",
      argv: ["timeline", "--json", "--json"],
      alone: { values: expect.anything(), leftover: ["--json"] },
      here: given({ json: true })
    }
  ]

  for (const { alone, argv, here, quirk } of quirks) {
    it.effect(`is worked around: ${quirk}`, () =>
      Effect.gen(function* () {
        expect(yield* parse(argv)).toEqual(alone)
        expect(yield* parseRead(argv)).toEqual(here)
      })
    )
  }

  it.effect("is worked around: a usage error is printed, and fails as well, in colours also for a pipe", () =>
    Effect.gen(function* () {
      const printed: Array<unknown> = []
      const console = yield* Effect.consoleWith((original) =>
        Effect.succeed<Console.Console>({
          ...original,
          error: (...parts) => Effect.sync(() => void printed.push(...parts))
        })
      )
      const cases = [
        ["history", "posts"],
        ["timeline", "--limitt", "5"]
      ]
      for (const args of cases) {
        printed.length = 0
        const run = Command.run(root, { name: "threadline", version: "1" })
        const failed = yield* run(["node", "threadline", ...args]).pipe(
          Effect.withConsole(console),
          Effect.provide(NodeContext.layer),
          Effect.flip
        )
        expect(failed).toMatchObject({ error: expect.anything() })
        expect(printed).toHaveLength(1)
        const outcome = yield* Cli.run(args)
        expect(outcome).toEqual(Cli.refusal(2, /./))
        expect(outcome.stderr).not.toContain("\u001b")
      }
    })
  )
})

describe("arguments are put into one order", () => {
  it("options stand anywhere, with their values behind a blank or an equals sign", () => {
    const expected = runs("history", "--limit", "5", "--json", "--", "posts", "1")
    expect(reading("history", "posts", "1", "--limit", "5", "--json")).toEqual(expected)
    expect(reading("history", "--limit=5", "--json", "posts", "1")).toEqual(expected)
    expect(reading("--limit=5", "history", "--json", "posts", "--", "1")).toEqual(expected)
  })

  it("options are repeated, may hold an equals sign, may be negative", () => {
    expect(reading("capture", "plan", "--table=a", "--table", "b", '--key="x=y".z')).toEqual(
      runs("capture", "plan", "--table", "a", "--table", "b", "--key", '"x=y".z', "--")
    )
    expect(reading("history", "posts", "-5")).toEqual(runs("history", "--", "posts", "-5"))
    expect(reading("history", "posts", "--", "--json")).toEqual(runs("history", "--", "posts", "--json"))
  })

  it("a flag counts once, and not if it is false", () => {
    expect(reading("timeline", "--json", "--json")).toEqual(runs("timeline", "--json", "--"))
    expect(reading("timeline", "--json=false")).toEqual(runs("timeline", "--"))
    expect(reading("timeline", "--json=true")).toEqual(runs("timeline", "--json", "--"))
  })

  it.effect("arguments behind -- are what they are, whatever they look like", () =>
    Effect.gen(function* () {
      for (const key of ["--help", "--version", "-h", "--limit", "--", "", "-5", "--wizard"]) {
        expect(yield* parseRead(["history", "--limit", "1", "--", "posts", key])).toEqual(
          given({ table: "posts", key, limit: Option.some("1") })
        )
      }
    })
  )
})

describe("the tree of commands", () => {
  it("has every command that is listed, and no other", () => {
    expect(leaves.map(({ path }) => path.join(" ")).sort()).toEqual(Object.keys(commands).sort())
  })

  it("has options that have a value under their name everywhere, or nowhere", () => {
    const byName = new Map<string, Set<boolean>>()
    for (const { name, placeholder } of leaves.flatMap(({ options }) => options)) {
      byName.set(name, (byName.get(name) ?? new Set()).add(placeholder !== undefined))
    }
    expect([...byName].filter(([, kinds]) => kinds.size > 1)).toEqual([])
  })
})

it("what was probably meant is said of commands, of options and of words", () => {
  const cases: ReadonlyArray<readonly [argv: string, sentence: string]> = [
    ["timline", "there is no command timline; did you mean timeline?"],
    ["tiemline --limt 5", "there is no command tiemline; did you mean timeline?"],
    ["capture aply", "there is no command capture aply; did you mean capture apply?"],
    ["migrate stats", "there is no command migrate stats; did you mean migrate status?"],
    ["apply", "there is no command apply; did you mean capture apply?"],
    ["timeline --limt 5", "there is no option --limt; did you mean --limit?"],
    ["--limt 5", "there is no option --limt; did you mean --limit?"],
    ["timeline --hepl", "there is no option --hepl; did you mean --help?"],
    ["timeline --tabel posts", "there is no option --tabel; did you mean --table?"],
    ["timeline --nope", "there is no option --nope"],
    ["history posts -Infinity", "there is no option -Infinity; write -- before an argument that begins with a dash"],
    ["timeline -json", "there is no option -json; did you mean --json?"],
    ["feed --from nwo", "--from is one of beginning, now; did you mean now?"],
    ["timeline --jsn", "there is no option --jsn; did you mean --json?"],
    ["history posts 1 --form 2026-01-01", "there is no option --form"],
    ["timeline --writer app", "the option --writer does not belong to this command"],
    ["transaction 1 --order newst", "--order is one of newest, oldest; did you mean newest?"],
    ["timeline --op udpate", "--op is one of insert, update, delete, truncate, baseline; did you mean update?"],
    ["actor usr 42", "TYPE is one of user, admin, service_account, job, system, anonymous; did you mean user?"],
    ["history posts", "KEY is missing: threadline history TABLE KEY"],
    ["actor", "TYPE is missing: threadline actor TYPE [ID]"],
    ["transaction 1 2", "there is an argument too many: 2"]
  ]
  for (const [argv, sentence] of cases) {
    expect(reading(...argv.split(" ")), argv).toEqual(Either.left(sentence))
  }
})
