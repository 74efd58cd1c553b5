// Who may import whom. The rooms of src/internal stand in one order, and a room imports only from rooms before it;
// what each of them is for is in docs/architecture.md.

/** The rooms, each with the rooms it may import from. */
const rooms = {
  core: [],
  sql: ["core"],
  record: ["core", "sql"],
  rows: ["core", "sql", "record"],
  search: ["core", "sql", "record", "rows"],
  query: ["core", "sql", "record", "rows", "search"],
  feed: ["core", "sql", "record"],
  export: ["core", "sql", "record", "search", "feed"],
  retention: ["core", "sql", "record"],
  evidence: ["core", "sql", "record"],
  views: ["core", "sql", "record", "search"],
  capture: ["core", "sql"],
  intent: ["core", "sql"],
  schema: ["core", "sql"],
  health: ["core", "sql", "capture", "schema"],
  testing: ["core", "sql", "record", "rows"]
}

/** The only public modules that internal files may import: models and errors that every room shares. */
const models = "^src/(Actor|AuditContext|Page|ThreadlineError)\\.ts$"

/** Pages import what a host can import, and nothing else of Threadline: what they lack there is missing for hosts, too. */
const pages = "operator"

/**
 * Parts of English sentences, words for a shell, spans of time as people write them and endings of files: the command line and the pages
 * write and read them as the library does. They are no API.
 */
const words = "^src/internal/core/(words|shell|span|fileEnding)\\.ts$"

const names = Object.keys(rooms)

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "every-file-has-a-room",
      comment: "a file of src/internal stands in one of the rooms that this configuration knows",
      severity: "error",
      from: { path: "^src/internal/", pathNot: `^src/internal/(${[...names, pages].join("|")})/` },
      to: {}
    },
    ...names.map((room) => ({
      name: `room-${room}`,
      comment: `src/internal/${room} imports from ${["itself", ...rooms[room]].join(", ")}`,
      severity: "error",
      from: { path: `^src/internal/${room}/` },
      to: { path: "^src/internal/", pathNot: `^src/internal/(${[room, ...rooms[room]].join("|")})/` }
    })),
    {
      name: "internal-imports-models-only",
      severity: "error",
      from: { path: "^src/internal/", pathNot: `^src/internal/${pages}/` },
      to: { path: "^src/", pathNot: ["^src/internal/", models] }
    },
    {
      name: "pages-import-public-modules",
      severity: "error",
      from: { path: `^src/internal/${pages}/` },
      to: { path: "^src/internal/", pathNot: [`^src/internal/${pages}/`, words] }
    },
    {
      name: "the-core-needs-no-pages",
      comment: "preact is an optional dependency of the operator surface alone",
      severity: "error",
      from: { path: "^src/", pathNot: `^src/(internal/${pages}/|OperatorSurface\\.ts$|operator\\.ts$)` },
      to: { path: `^src/(internal/${pages}/|OperatorSurface\\.ts$|operator\\.ts$)|node_modules/preact` }
    },
    {
      name: "core-has-no-sql",
      severity: "error",
      from: { path: "^src/internal/core/" },
      to: { path: "node_modules/(@effect/sql|@effect/sql-pg|pg)/" }
    },
    {
      name: "library-needs-no-cli",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(cli|test|bench|examples|scripts)/|node_modules/@effect/(cli|platform-node|printer|printer-ansi)/" }
    },
    {
      name: "entry-points-import-public-modules",
      comment: "what an adapter of a client or of a framework needs, a host with another one needs, too",
      severity: "error",
      // The kit for suites of hosts is no adapter: it owns transactions, as services do.
      from: { path: "^src/([a-z][^/]*\\.ts$|http/)", pathNot: "^src/(index|testing)\\.ts$" },
      // The store on S3 is also made of a configuration, which loads the packages of AWS only then.
      to: { path: "^src/internal/", pathNot: "^src/internal/export/store/s3\\.ts$" }
    },
    {
      name: "cli-imports-public-modules",
      severity: "error",
      from: { path: "^cli/" },
      to: { path: "^src/internal/", pathNot: words }
    },
    {
      name: "cli-is-not-made-of-tests",
      severity: "error",
      from: { path: "^cli/" },
      to: { path: "^(test|bench|examples|scripts)/" }
    }
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "node", "default"] }
  }
}
