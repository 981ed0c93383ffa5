// Checks Rowen's vectors with other people's tools:
//   signatures and typed data  viem
//   inclusion proofs           @sigstore/verify (what npm checks provenance with)
//   heads, both proofs         @transmute/rfc9162
//
// node verify.mjs FILE…  prints how much was checked, as JSON; the first difference ends it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import {
  compactSignatureToSignature,
  concat,
  encodeAbiParameters,
  encodePacked,
  getAddress,
  hashDomain,
  hashTypedData,
  keccak256,
  numberToHex,
  parseCompactSignature,
  recoverAddress,
  recoverTypedDataAddress,
  serializeSignature,
  size,
  toHex,
} from "viem";
import { privateKeyToAddress } from "viem/accounts";

const require = createRequire(import.meta.url);
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle.js");
const { RFC9162 } = require("@transmute/rfc9162");

const checked = { statements: 0, forgeries: 0, inclusion: 0, consistency: 0, rejected: 0, rows: 0 };

const bytes = (hex) => Uint8Array.from(Buffer.from(hex.slice(2), "hex"));
const sha256 = (hex) => "0x" + createHash("sha256").update(bytes(hex)).digest("hex");

function flip(hex, at) {
  const raw = bytes(hex);
  raw[at >> 3] ^= 0x80 >> (at & 7);
  return toHex(raw);
}

function members(type) {
  const [, inside] = type.match(/^\w+\((.*)\)$/);
  return inside.split(",").map((part) => {
    const [kind, name] = part.split(" ");
    return { type: kind, name };
  });
}

const value = (kind, text) => (kind.startsWith("uint") ? BigInt(text) : text);

async function checkStatement(domain, vector) {
  const fields = members(vector.type);
  assert.equal(keccak256(toHex(vector.type)), vector.typeHash);
  const words = encodeAbiParameters(
    fields,
    // viem takes small uints as numbers, large ones as bigints.
    fields.map(({ type, name }) =>
      ["uint8", "uint32"].includes(type) ? Number(vector.fields[name]) : value(type, vector.fields[name]),
    ),
  );
  assert.equal(words, vector.words);

  const typed = {
    domain,
    types: { [vector.primaryType]: fields },
    primaryType: vector.primaryType,
    message: Object.fromEntries(fields.map(({ type, name }) => [name, value(type, vector.fields[name])])),
  };
  assert.equal(hashTypedData(typed), vector.digest);

  assert.equal(size(vector.signature), 64);
  const signature = serializeSignature(compactSignatureToSignature(parseCompactSignature(vector.signature)));
  assert.equal(await recoverTypedDataAddress({ ...typed, signature }), vector.signer);
  checked.statements += 1;

  const other = { ...typed, domain: { ...domain, chainId: domain.chainId + 1 } };
  assert.notEqual(await recoverTypedDataAddress({ ...other, signature }), vector.signer);
  const forged = { hash: flip(vector.digest, 17), signature };
  assert.notEqual(await recoverAddress(forged), vector.signer);
  checked.forgeries += 2;
}

function includes(entry, index, count, proof, root) {
  try {
    verifyMerkleInclusion(
      { canonicalizedBody: Buffer.from(bytes(entry)), inclusionProof: { logIndex: String(index), hashes: proof.map((node) => Buffer.from(bytes(node))) } },
      { logSize: BigInt(count), logHash: Buffer.from(bytes(root)) },
    );
    return true;
  } catch (error) {
    if (error.code !== "TLOG_INCLUSION_PROOF_ERROR") throw error;
    return false;
  }
}

const includesToo = async (entry, index, count, proof, root) =>
  RFC9162.verifyInclusionProof(bytes(root), await RFC9162.leaf(bytes(entry)), {
    log_id: "",
    tree_size: count,
    leaf_index: index,
    inclusion_path: proof.map(bytes),
  });

async function isConsistent(oldCount, oldRoot, count, root, proof) {
  if (oldCount === count) return proof.length === 0 && oldRoot === root;
  // RFC 9162, 2.1.4.2, step 2: "If first is an exact power of 2, then prepend first_hash to
  // the consistency_path array." The package leaves that step to its caller.
  const whole = (oldCount & (oldCount - 1)) === 0;
  const path = [...(whole ? [oldRoot] : []), ...proof].map(bytes);
  if (proof.length === 0) return false;
  return RFC9162.verifyConsistencyProof(bytes(oldRoot), bytes(root), {
    log_id: "",
    tree_size_1: oldCount,
    tree_size_2: count,
    consistency_path: path,
  });
}

async function checkLog(log) {
  const { entries, roots } = log;
  for (const [index, entry] of entries.entries()) {
    assert.equal(toHex(await RFC9162.leaf(bytes(entry))), log.leafHashes[index]);
  }
  for (let count = 1; count <= entries.length; count += 1) {
    assert.equal(toHex(await RFC9162.treeHead(entries.slice(0, count).map(bytes))), roots[count]);
  }
  for (const { index, count, proof } of log.inclusion) {
    const root = roots[count];
    for (const verify of [includes, includesToo]) {
      assert.equal(await verify(entries[index], index, count, proof, root), true);
      const bent = [
        [flip(entries[index], index), index, count, proof, root],
        [entries[index], index, count, proof, flip(root, 255 - index)],
        [entries[index], index, count, [...proof, root], root],
        ...(proof.length ? [[entries[index], index, count, proof.slice(1), root]] : []),
        ...(proof.length ? [[entries[index], index, count, [flip(proof[0], 3), ...proof.slice(1)], root]] : []),
        ...(count > 1 ? [[entries[index], (index + 1) % count, count, proof, root]] : []),
      ];
      for (const wrong of bent) {
        assert.equal(await verify(...wrong), false);
        checked.rejected += 1;
      }
      checked.inclusion += 1;
    }
  }
  for (const { oldCount, count, proof } of log.consistency) {
    const [oldRoot, root] = [roots[oldCount], roots[count]];
    assert.equal(await isConsistent(oldCount, oldRoot, count, root, proof), true);
    const bent = [
      [oldCount, flip(oldRoot, 9), count, root, proof],
      [oldCount, oldRoot, count, flip(root, 9), proof],
      [oldCount, oldRoot, count, root, [...proof, root]],
      ...proof.map((node, at) => [oldCount, oldRoot, count, root, proof.with(at, flip(node, at))]),
    ];
    for (const wrong of bent) {
      assert.equal(await isConsistent(...wrong), false);
      checked.rejected += 1;
    }
    checked.consistency += 1;
  }
}

function checkClaimRow(row) {
  const packed = encodePacked(
    ["address", "uint96", "uint32", "bytes32", "bytes"],
    [row.payer, BigInt(row.total), row.receiptCount, row.receiptsRoot, row.signature],
  );
  assert.equal(packed, row.row);
  assert.equal(size(packed), 132);
  checked.rows += 1;
}

function checkChannel({ payer, provider, signer, id }) {
  const kinds = [{ type: "address" }, { type: "address" }, { type: "address" }];
  assert.equal(keccak256(encodeAbiParameters(kinds, [payer, provider, signer])), id);
}

for (const file of process.argv.slice(2)) {
  const vectors = JSON.parse(readFileSync(file, "utf8"));
  const { separator, ...domain } = vectors.domain;
  const types = {
    EIP712Domain: [
      { name: "name", type: "string" },
      { name: "version", type: "string" },
      { name: "chainId", type: "uint256" },
      { name: "verifyingContract", type: "address" },
    ],
  };
  assert.equal(hashDomain({ domain, types }), separator);
  for (const key of vectors.keys ?? []) assert.equal(privateKeyToAddress(key.secret), getAddress(key.address));
  for (const vector of [...(vectors.statements ?? []), ...(vectors.receipts ?? [])]) {
    await checkStatement(domain, vector);
  }
  if (vectors.channel) checkChannel(vectors.channel);
  if (vectors.claimRow) checkClaimRow(vectors.claimRow);
  if (vectors.offer) assert.equal(sha256(vectors.offer.content), vectors.offer.contentHash);
  if (vectors.input) assert.equal(sha256(concat([vectors.input.salt, vectors.input.encoded])), vectors.input.hash);
  if (vectors.log) {
    // A receipt's digest is its entry in the log.
    for (const [index, receipt] of (vectors.receipts ?? []).entries()) {
      assert.equal(receipt.digest, vectors.log.entries[index]);
      assert.equal(receipt.fields.sequence, String(Number(numberToHex(index))));
    }
    await checkLog(vectors.log);
  }
}
console.log(JSON.stringify(checked));
