/** Properties without their own seed use the seed of the run. */
import * as FastCheck from "effect/FastCheck"
import { seed } from "../support/runs.js"

FastCheck.configureGlobal({ ...FastCheck.readConfigureGlobal(), seed })
