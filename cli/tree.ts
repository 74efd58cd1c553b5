/** The tree of commands. */
import * as Command from "@effect/cli/Command"
import * as continuity from "./commands/continuity.js"
import * as consumers from "./commands/consumers.js"
import * as evidence from "./commands/evidence.js"
import * as capture from "./commands/capture.js"
import * as exporting from "./commands/export.js"
import * as exportJobs from "./commands/exportJobs.js"
import * as exportSchedule from "./commands/exportSchedule.js"
import { demo } from "./commands/demo.js"
import { feed } from "./commands/feed.js"
import * as health from "./commands/health.js"
import { grant } from "./commands/grant.js"
import { init } from "./commands/init.js"
import { actions, actor, correlation, request, timeline, transactions, unattributed } from "./commands/listings.js"
import * as migrate from "./commands/migrate.js"
import { asOf, history, transaction } from "./commands/reads.js"
import * as retention from "./commands/retention.js"
import * as schema from "./commands/schema.js"
import * as views from "./commands/views.js"
import { serve } from "./commands/serve.js"
import { completions, shells } from "./completions.js"
import { common } from "./options.js"
import { printJson, printSource } from "./output.js"
import { type CommandFacts, leaf, type With, wordArgument } from "./parser/declare.js"

const migrating = [migrate.up, migrate.status, migrate.printing, migrate.generate] as const

const capturing = [capture.plan, capture.applying, capture.removing, capture.status, capture.printing] as const

const consuming = [consumers.list, consumers.forget] as const

const retaining = [retention.plan, retention.purge, retention.runs, retention.maintain] as const

const proving = [
  evidence.record,
  evidence.list,
  evidence.latest,
  evidence.history,
  evidence.overview,
  evidence.proof
] as const

const continuing = [continuity.check, continuity.baseline] as const

const policies = [health.policyShow] as const

const viewing = [views.list, views.run, views.save, views.remove] as const

const inSchema = [schema.events] as const

const belowExport = [
  exporting.verify,
  exportJobs.queue,
  exportJobs.list,
  exportJobs.job,
  exportJobs.run,
  exportJobs.cancel,
  exportJobs.retry,
  exportJobs.download,
  exportJobs.expire
] as const

const scheduling = [exportSchedule.add, exportSchedule.list, exportSchedule.remove] as const

/** Defined here because it needs the whole tree. */
const completing = leaf(
  "completions",
  { ...common, shell: wordArgument("SHELL", shells, `One of ${shells.join(", ")}.`) },
  (options) => {
    const script = completions(options.shell, leaves)
    return options.json ? printJson({ shell: options.shell, script }) : printSource(script)
  }
)

const ungrouped = [
  init,
  grant,
  health.health,
  health.coverage,
  timeline,
  transactions,
  history,
  asOf,
  transaction,
  actor,
  correlation,
  request,
  actions,
  unattributed,
  feed,
  serve,
  demo,
  completing
] as const

export const root = Command.make("threadline").pipe(
  Command.withSubcommands([
    Command.make("migrate").pipe(Command.withSubcommands(migrating)),
    Command.make("capture").pipe(Command.withSubcommands(capturing)),
    Command.make("continuity").pipe(Command.withSubcommands(continuing)),
    Command.make("policy").pipe(Command.withSubcommands(policies)),
    Command.make("consumers").pipe(Command.withSubcommands(consuming)),
    Command.make("retention").pipe(Command.withSubcommands(retaining)),
    Command.make("evidence").pipe(Command.withSubcommands(proving)),
    Command.make("views").pipe(Command.withSubcommands(viewing)),
    Command.make("schema").pipe(Command.withSubcommands(inSchema)),
    exporting.exported.pipe(
      Command.withSubcommands([...belowExport, Command.make("schedule").pipe(Command.withSubcommands(scheduling))])
    ),
    ...ungrouped
  ])
)

/** Every command, inside or outside of a group. */
export const leaves: ReadonlyArray<CommandFacts> = [
  ...migrating,
  ...capturing,
  ...continuing,
  ...policies,
  ...consuming,
  ...retaining,
  ...proving,
  ...viewing,
  ...inSchema,
  exporting.exported,
  ...belowExport,
  ...scheduling,
  ...ungrouped
].map((command: With<CommandFacts>) => command.facts)
