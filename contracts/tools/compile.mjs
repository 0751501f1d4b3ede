// Builds contracts/artifacts: `node tools/compile.mjs` writes, `--check` compares byte for byte and writes nothing.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compile, root, version } from "./solc.mjs";

const SET = {
  TimelockController: "node_modules/@openzeppelin/contracts/governance/TimelockController.sol",
  MarinaToken: "src/MarinaToken.sol",
  MarinaGovernor: "src/MarinaGovernor.sol",
  TrackRegistry: "src/TrackRegistry.sol",
  MusicLicensing: "src/MusicLicensing.sol",
  TrackEditions: "src/TrackEditions.sol",
  GuardianRegistry: "src/GuardianRegistry.sol",
};
const FIXTURES = { TestToken: "test/tokens/TestToken.sol" };
const SETTINGS = {
  remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const OUTPUT = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences", "storageLayout"];

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

/** Storage types are named after syntax tree ids, which depend on what else is compiled: those go. */
const stable = (layout) => JSON.parse(JSON.stringify(layout).replace(/\)\d+_/g, ")_").replace(/"astId":\d+,/g, ""));

function build(sources) {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(
      Object.values(sources).map((path) => [path, { content: readFileSync(join(root, path), "utf8") }]),
    ),
    settings: { ...SETTINGS, outputSelection: { "*": { "*": OUTPUT } } },
  };
  const made = JSON.parse(compile(JSON.stringify(input), [root]));
  const faults = (made.errors ?? []).filter((each) => each.severity !== "info" && !each.formattedMessage.includes("node_modules/"));
  for (const each of faults) process.stderr.write(`${each.formattedMessage}\n`);
  if (faults.length > 0) process.exit(1);
  return Object.entries(sources).map(([name, path]) => {
    const contract = made.contracts[path][name];
    const { bytecode, deployedBytecode } = contract.evm;
    const references = Object.values(deployedBytecode.immutableReferences ?? {}).flat();
    const artifact = {
      contractName: name,
      sourceName: path,
      abi: contract.abi,
      bytecode: `0x${bytecode.object}`,
      deployedBytecode: `0x${deployedBytecode.object}`,
      immutableReferences: references.length ? { all: references.sort((a, b) => a.start - b.start) } : {},
      storageLayout: stable(contract.storageLayout ?? { storage: [], types: null }),
      compiler: version,
      settings: SETTINGS,
    };
    return [name, `${JSON.stringify(sorted(artifact), null, 1)}\n`];
  });
}

const words = process.argv.slice(2);
const check = words.includes("--check");
const names = words.filter((each) => !each.startsWith("-"));
let differs = false;
for (const [folder, all] of [["artifacts", SET], ["artifacts/fixtures", FIXTURES]]) {
  const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => names.length === 0 || names.includes(name)));
  if (Object.keys(chosen).length === 0) continue;
  mkdirSync(join(root, folder), { recursive: true });
  for (const [name, text] of build(chosen)) {
    const path = join(root, folder, `${name}.json`);
    if (!check) writeFileSync(path, text);
    else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
      differs = true;
      process.stderr.write(`${folder}/${name}.json is not what the sources compile to: run node tools/compile.mjs\n`);
    }
  }
  if (check && names.length === 0) {
    for (const each of readdirSync(join(root, folder)).filter((file) => file.endsWith(".json"))) {
      if (!(each.slice(0, -5) in all)) {
        differs = true;
        process.stderr.write(`${folder}/${each} belongs to no source\n`);
      }
    }
  }
}
if (differs) process.exit(1);
process.stdout.write(check ? "ok\n" : "written\n");
