/** Every command and what it does, in the order of the help. */
export const commands = {
  init: "Write threadline.config.ts and show the next steps.",
  "migrate up": "Install or upgrade Threadline's schema.",
  "migrate status": "Compare the installed schema with this version.",
  "migrate print": "Print the migrations as SQL for psql.",
  "migrate generate": "Write the migrations as files for another migration tool.",
  grant: "Give roles what they need to write, read or operate the record.",
  "capture plan": "Show what would be done to capture the tables as configured.",
  "capture apply": "Capture the tables as configured.",
  "capture remove": "Stop capturing tables; what is recorded stays.",
  "capture status": "Show which tables are captured, and what is wrong with them.",
  "capture print": "Print the SQL that captures the tables, for another migration tool.",
  health: "Show what is wrong with capture and the record, and how to fix it.",
  coverage: "Show which tables are captured; fails if an expected one is not.",
  "policy show": "Compare how tables are redacted with the configuration; fails if it differs.",
  "continuity check": "Show what can be asked of each captured table, and since when.",
  "continuity baseline": "Record the rows that were there before capture began, beside running writers.",
  timeline: "List changes, newest first.",
  transactions: "List transactions with their changes counted, newest first.",
  history: "List the changes of one row, newest first.",
  "as-of": "Show one row as it stood at an instant.",
  transaction: "Show one transaction: who, why, and every change with its diff.",
  actor: "Show what an actor did: actions, transactions, changes.",
  correlation: "Show everything of one correlation: actions, transactions, changes.",
  request: "Show everything of one request: actions, transactions, changes.",
  actions: "List recorded actions, failed ones included, newest first.",
  unattributed: "List transactions without an actor.",
  "schema events": "List what was done to the schema around captured tables.",
  feed: "Print changes in the order of their commit, resumable by a checkpoint.",
  export: "Write changes as CSV, NDJSON, JSON or Parquet, to a file or to standard output.",
  "export verify": "Check a file against its manifest; needs no database.",
  "export queue": "Queue an export, to be made by a worker later.",
  "export jobs": "List queued, running and ended exports, newest first.",
  "export job": "Show one export: how far it is, its file, its last error.",
  "export run": "Run queued exports: the waiting ones, or all as they come.",
  "export cancel": "Cancel an export that waits or runs.",
  "export retry": "Queue an export again that failed or was cancelled.",
  "export download": "Write the file of a completed export.",
  "export expire": "Remove the files of exports that have expired.",
  "export schedule add": "Add a schedule that makes exports while a worker runs.",
  "export schedule list": "List the schedules of exports.",
  "export schedule remove": "Remove a schedule of exports; its exports stay.",
  "consumers list": "List the consumers of the feed, and how far behind they are.",
  "consumers forget": "Forget a consumer of the feed; retention no longer waits for it.",
  "retention plan": "Show what would be removed now, by table and month.",
  "retention purge": "Remove what the policy of the configuration no longer keeps.",
  "retention runs": "List what retention did, newest first.",
  "retention maintain": "Make partitions ahead, empty the default one, rebuild loosely packed indexes.",
  "evidence record": "Record how the record is governed: what you say, or what the services say.",
  "evidence list": "List evidence, newest first.",
  "evidence latest": "Show the newest evidence of a subject and a reference.",
  "evidence history": "List all evidence of a subject and a reference, newest first.",
  "evidence overview": "Show how the six subjects stand.",
  "evidence proof": "Write what an auditor needs for a period into one document.",
  "views list": "List saved views, newest first.",
  "views run": "List the changes that match a saved view.",
  "views save": "Save filters under a name.",
  "views delete": "Delete a saved view.",
  serve: "Serve the audit pages on this machine, for one browser.",
  completions: "Print completions for a shell: bash, zsh or fish."
} as const

export type CommandName = keyof typeof commands

/** Groups of commands, and what each group is about. */
export const groups: Readonly<Record<string, string>> = {
  migrate: "Install, upgrade and inspect Threadline's schema.",
  capture: "Decide which tables are captured, and how.",
  export: "Write changes as CSV, NDJSON, JSON or Parquet, now or by a worker, and check such files.",
  continuity: "See what can be asked of captured tables, and record what is not known of them.",
  policy: "See how captured tables are redacted.",
  "export schedule": "Decide when exports are made, and for which window.",
  consumers: "List and forget the consumers of the feed.",
  retention: "Keep the record as long as the configuration says, and no longer.",
  evidence: "Write down and prove how the record is governed.",
  schema: "See what was done to the schema around captured tables.",
  views: "Save filters under names, and run them."
}

const names: ReadonlyArray<string> = Object.keys(commands)

/** Names of the commands below a group, or of everything at the top. */
export const below = (path: ReadonlyArray<string>): ReadonlyArray<string> => {
  const depth = path.length
  const nextWords = names
    .map((name) => name.split(" "))
    .filter((words) => words.length > depth && path.every((word, index) => words[index] === word))
    .map((words) => words[depth] ?? "")
  return [...new Set(nextWords)]
}
