import { describe, expect, it } from "@effect/vitest"
import * as Capture from "../../../src/Capture.js"

const base = { table: "public.posts", sql: [], lessRedaction: [] }

const repair: Capture.RelationRepair = {
  relation: "public.posts",
  missing: ["a"],
  altered: ["b"],
  disabled: ["c"],
  otherwiseEnabled: ["d"],
  surplus: ["e"]
}

describe("a step of a plan is said in full", () => {
  const attach: Capture.Step = {
    ...base,
    kind: "attach",
    mode: "row",
    key: ["tenant", "id"],
    partitions: 2,
    exclude: ["body"],
    mask: ["secret"],
    truncate: "rows",
    truncateUnseen: ["public.far"],
    unlogged: ["public.quick"],
    lapsedSince: "2026-11-22T10:00:00.000000Z"
  }
  const cases: ReadonlyArray<readonly [Capture.Step, string]> = [
    [
      attach,
      "capture by row triggers; again, after a lapse since 2026-11-22T10:00:00.000000Z; key (tenant, id); 2 partitions; " +
        "without body; masking secret; truncate: rows; TRUNCATE of public.far is not seen before PostgreSQL 16; " +
        "unlogged, so that a crash empties it: public.quick"
    ],
    [
      {
        ...attach,
        mode: "statement",
        key: [],
        partitions: 1,
        exclude: [],
        mask: [],
        truncate: "event",
        truncateUnseen: [],
        unlogged: [],
        lapsedSince: null
      },
      "capture by statement triggers; no key; 1 partition"
    ],
    [
      {
        ...base,
        kind: "regenerate",
        differences: [
          { _tag: "mode", from: "statement", to: "row" },
          { _tag: "always", to: true },
          { _tag: "truncate", from: "event", to: "refuse" },
          { _tag: "key", from: [], to: ["id"] },
          { _tag: "exclude", added: ["a"], removed: ["b"] },
          { _tag: "mask", added: ["c"], removed: ["d"] },
          { _tag: "acknowledgeCasts", to: false },
          {
            _tag: "columns",
            columns: { added: ["e"], dropped: ["f"], renamed: [{ from: "g", to: "h" }], retyped: ["i"] }
          },
          { _tag: "columnDetails" }
        ],
        relations: [repair],
        lapse: true
      },
      "regenerate: mode row instead of statement; capture always; truncate refuse instead of event; key (id) instead of none; " +
        "exclude a; no longer exclude b; mask c; no longer mask d; casts no longer acknowledged; column g is now h; " +
        "new columns e; columns gone f; other types of i; details of its columns; " +
        "triggers of public.posts: a missing, b altered, c disabled, d enabled otherwise, e not needed; " +
        "note the lapse since the table was last known"
    ],
    [{ ...base, kind: "regenerate", differences: [], relations: [], lapse: false }, "regenerate: the code differs"],
    [
      { ...base, kind: "attach partition", partition: "public.p1", marked: true, lapse: true },
      "capture partition public.p1, and write its rows as baseline; note the lapse since the table was last known"
    ],
    [
      { ...base, kind: "detach partition", partition: "public.p1", gone: false, marked: true, lapse: false },
      "end the capture of public.p1, which left the table, and write its rows as deleted"
    ],
    [
      { ...base, kind: "detach partition", partition: "public.p1", gone: true, marked: false, lapse: false },
      "forget partition public.p1, which is gone"
    ],
    [
      {
        ...base,
        kind: "repair",
        relations: [repair],
        missingFunctions: ["f"],
        alteredFunctions: ["g"],
        foreignFunctions: [{ name: "h", owner: "mallory" }],
        granted: "threadline_owner",
        lapse: false
      },
      "triggers of public.posts: a missing, b altered, c disabled, d enabled otherwise, e not needed; function f missing; " +
        "function g altered; function h owned by mallory; let threadline_owner read the rows that TRUNCATE removes"
    ],
    [{ ...base, kind: "refresh", differences: [], lapse: false }, "record which table has this name now"],
    [{ ...base, kind: "refresh", differences: [], lapse: true }, "note the lapse since the table was last known"],
    [
      { ...base, kind: "detach", reason: "requested", capturedAs: null },
      "end its capture: removed on request; its history stays"
    ],
    [
      { ...base, kind: "detach", reason: "not configured", capturedAs: null },
      "end its capture: it is no longer configured; its history stays"
    ],
    [
      { ...base, kind: "detach", reason: "superseded", capturedAs: "public.articles" },
      "end its capture: it is captured as public.articles now; its history stays"
    ]
  ]
  for (const [step, sentence] of cases) {
    it(`${step.kind}: ${sentence}`, () => {
      expect(Capture.describeStep(step)).toBe(sentence)
    })
  }
})

describe("a privilege that is lacking is named", () => {
  const sentences: Readonly<
    Record<Extract<Capture.Refusal, { readonly reason: "InsufficientPrivilege" }>["lacks"], string>
  > = {
    membership:
      "role deployer may not act as owner, which owns Threadline's schema: capture requires membership in it, " +
      "and the TRIGGER privilege on the table",
    inheritance: "role deployer does not inherit the privileges of owner, which owns Threadline's schema",
    record: "role deployer may not read the record, which belongs to owner",
    trigger: "role deployer may not create triggers on public.posts",
    ownership: "role deployer does not own public.posts, whose triggers must be dropped or enabled",
    read: "owner cannot read public.posts to keep the rows that TRUNCATE removes, and role deployer may not let it",
    rows: "owner may not read public.posts: capture apply gives it that right, also on a partition that came since",
    lock: "role deployer may not lock rows of public.posts for a moment, which takes the UPDATE privilege",
    unknown: "the database role lacks a privilege (permission denied for schema odd)"
  }
  for (const [lacks, sentence] of Object.entries(sentences)) {
    it(`${lacks}: ${sentence}`, () => {
      expect(
        Capture.describeRefusal({
          reason: "InsufficientPrivilege",
          lacks: lacks as keyof typeof sentences,
          role: "deployer",
          relation: "public.posts",
          owner: "owner",
          serverMessage: "permission denied for schema odd"
        })
      ).toBe(sentence)
    })
  }
})
