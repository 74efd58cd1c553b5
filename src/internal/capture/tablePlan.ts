/** What planning gives for one table. */
import type { Name, Relation } from "./catalogModel.js"
import type { Spread } from "./spread.js"
import type { Step } from "./step.js"

export interface PlanOptions {
  /** Everything is made anew, no matter what is installed. */
  readonly force?: boolean | undefined
  /** Baseline changes for the rows of partitions that joined, delete changes for those of partitions that left. */
  readonly markPartitions?: boolean | undefined
}

/** A privilege that the connected role needs on a relation for the steps to work. */
export interface Need {
  readonly relation: Relation
  readonly privilege: "trigger" | "ownership" | "grant"
}

export interface TablePlan {
  readonly steps: ReadonlyArray<Step>
  /** Tables that the steps touch or retire: what to read again under the lock. */
  readonly names: ReadonlyArray<Name>
  readonly needs: ReadonlyArray<Need>
  readonly spread: Spread | undefined
}
