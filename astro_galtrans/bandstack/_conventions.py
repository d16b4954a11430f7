"""
What surveys mean by the names in their files, as data: extensions beside an image, planes of a mask, units left unsaid.

Each table names where its convention is defined; the modules beside this one apply them. To teach the package another
survey's files, add a row here.
"""

import re

__all__ = [
    "CARD_ROLES", "CHIP_CARDS", "CODED_PLANES", "EXTENSION_ROLES", "IMAGE_WORDS", "IMPLIED_UNITS", "KEPT_CARDS",
    "KNOWN_PLANES", "NUMBERED_PLANE_CARD", "PLANE_CARD", "PLANE_COMMENT", "SATURATION_CARDS", "SAYS_VALUE",
    "UNNAMED_PLANES", "harmless", "has_codes", "states_good",
]  # fmt: skip

# What an extension beside an image can be: three kinds of noise, three of quality, and what is not needed
_WORDS = {
    "std": (
        "uncert err error errors errdata errmap sigma sigmamap sig std stddev stdev rms rmsmap noise unc uncertainty"
    ),
    "variance": "var variance vari varmap",
    "ivar": "ivar invvar inversevariance ivm",
    # DES writes MSK, HST and JWST DQ, IRAF and NOIRLab BPM, KiDS and Euclid FLG, the DECam pipeline OOD and DQM
    "flags": (
        "mask msk dq dqm flags flag flg flagmap bpm badpix badpixels badmask badpixelmask quality maskbits dqmask ood"
        " bmask"
    ),
    "good": "good goodpix goodmask valid validmask",
    # exposure times, CASU's confidence or inverse variances, on a scale of their own: that zero is bad is all that is
    # sure
    "weight": "wht wgt wgts weight weights wt wtmap weightmap conf confidence expmap expomap exptime coverage cvg",
    "other": (
        "psf psfimage psfex seg segm segmap segmentation bkg background bkgd sky d2imarr wcsdvarr"
        " con ctx samp time varpoisson varrnoise varflat"  # HST and JWST; parts of the variance that ERR has whole
    ),
}
#: First word of an extension's name (EXTNAME, EXTTYPE) to its role.
EXTENSION_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}

#: Cards that state the role outright, before the name: (card, value) to role.
CARD_ROLES = {
    # ESO's FITS data format for errors and quality (VLT-SPE-ESO-19500-5667, "HDUCLAS"), used by SDSS MaNGA, too
    ("HDUCLAS3", "MSE"): "variance", ("HDUCLAS3", "RMSE"): "std", ("HDUCLAS3", "INVMSE"): "ivar",
    ("HDUCLAS3", "MASKONE"): "flags", ("HDUCLAS3", "MASKZERO"): "good", ("HDUCLAS3", "FLAG32BIT"): "flags",
    ("HDUCLAS3", "FLAG16BIT"): "flags", ("HDUCLAS2", "QUALITY"): "flags", ("HDUCLAS2", "ERROR"): "std",
    # DESDM (despyfits): WGT is the inverse variance of the sky
    ("DES_EXT", "MASK"): "flags", ("DES_EXT", "BPM"): "flags", ("DES_EXT", "WEIGHT"): "ivar",
    # Cutouts of the Legacy Surveys' viewer have no EXTNAME
    ("IMAGETYP", "INVVAR"): "ivar", ("IMAGETYP", "MASKBITS"): "flags",
}  # fmt: skip

#: Words of names that an image itself has. Among several extensions one that has such a name is the image.
IMAGE_WORDS = frozenset({"sci", "image", "img", "data", "primary", "compressed", "science", "fpc", "frame"})

#: Cards that tell detectors of one camera apart.
CHIP_CARDS = ("EXTVER", "CCDNUM", "CHIP", "CHIPID", "DETECTOR", "DETNAM", "DET-ID", "IMAGEID", "CCDCHIP", "CCDNAME")

#: Cards with the value from which a pixel is saturated, in the unit of the pixels: SExtractor's, ESO's and DES's
#: spelling, and that of CFHT.
SATURATION_CARDS = ("SATURATE", "SATLEVEL", "SATURATA")

#: Units that images have though no BUNIT says so: (card, pattern of its value) to unit.
IMPLIED_UNITS = (
    ("SURVEY", "LegacySurvey", "nanomaggy"),  # cutouts of legacysurvey.org/viewer
    # Pixels to which a zero point or an asinh compression belongs are counts, whatever these are called
    *((card, ".*", "adu") for card in ("MZP_AB", "MAGZERO", "PHOTZP", "FLUXMAG0", "FPA.ZP", "BSOFTEN")),
)

# Planes of masks. A plane that marks light, a neighbour's footprint, or a value that the pipeline has mended leaves the
# pixel usable; names of all conventions are taken together, since none uses for a defect what another uses for light.
_GOOD_PLANES = (
    # LSST and HSC (afw.image.Mask and pipe_tasks). CLIPPED, REJECTED, SENSOR_EDGE, INEXACT_PSF tell of a PSF that
    # jumps, not of a wrong flux; INTRP of a value interpolated over a defect, whose own planes (BAD, SAT, CR) stay set
    "DETECTED DETECTED_NEGATIVE INTRP CROSSTALK CLIPPED REJECTED SENSOR_EDGE INEXACT_PSF NOT_DEBLENDED HIGH_VARIANCE",
    "BRIGHT_OBJECT FAKE INJECTED INJECTED_CORE INJECTED_TEMPLATE INJECTED_CORE_TEMPLATE PARTLY_VIGNETTED SPIKE",
    # DES (pixcorrect's mask_bits.h, despyfits.maskbits)
    "INTERP STAR FIXED FIX NEAREDGE TAPEBUMP SUSPECT_DES",
    # Legacy Surveys (legacypipe.bits, MASKBITS)
    "NPRIMARY BRIGHT MEDIUM GALAXY CLUSTER WISEM1 WISEM2 RESOLVED SUB_BLOB",
    # JWST (jwst.datamodels.dqflags): only DO_NOT_USE is unusable, the others say why, or that it was corrected
    "JUMP_DET DROPOUT PERSISTENCE AD_FLOOR UNDERSAMP CHARGELOSS",
    # Pan-STARRS: BURNTOOL shares its bit with SUSPECT, and tells of a correction
    "BURNTOOL STARCORE CONV_POOR",
)
_BAD_PLANES = (
    "BAD SAT CR EDGE NO_DATA SUSPECT UNMASKEDNAN VIGNETTED STREAK SAT_TEMPLATE",  # LSST and HSC
    "BPM SATURATE BADAMP LOW CRAY TRAIL EDGEBLEED SSXTALK",  # DES
    "SATUR_G SATUR_R SATUR_I SATUR_Z ALLMASK_G ALLMASK_R ALLMASK_I ALLMASK_Z BAILOUT",  # Legacy Surveys
    "DETECTOR FLAT BLANK CTE CONV_BAD",  # Pan-STARRS (ippconfig, masks.16bit.config)
    "LOW_WEIGHT DIFFERENCE",  # NOIRLab's Community Pipeline
    "READOUT_SPIKE DIFFRACTION_SPIKE PRIMARY_HALO SECONDARY_HALO TERTIARY_HALO MANUAL",  # KiDS
    "DO_NOT_USE SATURATED COSMIC HOT DEAD DARK INVALID OUTSIDE UNDEFINED BLEED NODATA NONLINEAR GHOST OUTLIER",
)

#: Name of a plane to whether it is bad by default.
KNOWN_PLANES = {
    name: bad for rows, bad in ((_BAD_PLANES, True), (_GOOD_PLANES, False)) for row in rows for name in row.split()
}

_BAD_WORD = re.compile(
    r"BAD|DEAD|HOT|COLD|WARM|SAT|COSMIC|CRAY?$|^CR|_CR|CRHIT|NO_?DATA|MISSING|INVALID|UNUSABLE|DO_NOT_USE|BLEED|TRAIL"
    r"|STREAK|SATELLITE|EDGE|BORDER|VIGN|NAN|UNDEF|GHOST|DEFECT|NOISY|NONLIN|NO_COVER|OUTSIDE|DARK|LOST|REJECT|BPM|HALO|ARTIFACT|RESPONSIV"
)
_GOOD_WORD = re.compile(
    r"DETECT|SOURCE|OBJECT|OBJ$|GALAX|STAR|INTERP|INTRP|FIXED|CORRECTED|REPAIRED|MENDED|GOOD|VALID$|FOOTPRINT|PRIMARY"
    r"|DEBLEND|INJECT|NEAR|COVERED|OK$"
)


def harmless(plane):
    """Whether a pixel that a plane of this name (upper case) marks stays usable; None if no convention explains it."""
    if plane in KNOWN_PLANES:
        return not KNOWN_PLANES[plane]
    if _GOOD_WORD.search(plane) and not re.search(r"BAD|UN(FIXED|CORRECTED)|NOT_|INVALID|SAT", plane):
        return True
    return False if _BAD_WORD.search(plane) else None


#: Card ``MP_BAD = 0`` and its like: a plane's name in the keyword, its bit as the value. LSST writes MP_; the others
#: are those of pipelines that took the idea over.
PLANE_CARD = re.compile(r"(?:MP|DQ|MSK|MASK|FLAG|FLG|BPM|BIT|MASKBIT|MB|BADPIX)[_ ]([A-Z][A-Z0-9_ ]*)")
#: Card ``BIT03 = 'SATURATED'`` and its like: the bit in the keyword, the plane's name as the value.
NUMBERED_PLANE_CARD = re.compile(
    r"(?:[A-Z]+_)?(?:MP|DQ|MSK|MASK|FLAG|FLG|BPM|QUAL|PLANE|BIT|QBIT|MB)_?(?:BIT)?_?(NAME|NAM|NM|N)?_?(\d{1,5})"
)
#: Comments that say the value of a card is 2**bit: those of the Legacy Surveys, whose keywords are names of planes.
SAYS_VALUE = re.compile(r"\b(mask|flag|bit) ?value\b", re.IGNORECASE)
#: Line of ``COMMENT`` such as ``bit 3: saturated``.
PLANE_COMMENT = re.compile(r"\s*bit[ _]*(\d{1,2})\s*[:=-]+>?\s*(\w[^;,(*/]*)", re.IGNORECASE)


#: Masks whose bits are defined in documents only: the card that tells the survey, a pattern of its value, and the
#: planes with their bits.
UNNAMED_PLANES = (
    # DarkEnergySurvey/pixcorrect, include/mask_bits.h and despyfits.maskbits
    ("DES_EXT", "MASK|BPM", {
        "BPM": 0, "SATURATE": 1, "INTERP": 2, "BADAMP": 3, "CRAY": 4, "STAR": 5, "TRAIL": 6, "EDGEBLEED": 7,
        "SSXTALK": 8, "EDGE": 9, "STREAK": 10, "SUSPECT_DES": 11, "FIXED": 12, "NEAREDGE": 13, "TAPEBUMP": 14,
    }),
    # jwst.datamodels.dqflags.pixel; RD_NOISE and the like only say why DO_NOT_USE is set
    ("TELESCOP", "JWST|ROMAN", {"DO_NOT_USE": 0} | {f"JWST_GOOD_{bit}": bit for bit in range(1, 31)}),
    # ACS and WFC3/UVIS data handbooks: 16 (stable hot pixel), 64 and 256 (full well, but linear) are good (driz_bits)
    ("TELESCOP", "HST", {
        "INVALID_REED_SOLOMON": 0, "DEAD_REPLACED": 1, "BAD_DETECTOR": 2, "NODATA_MASKED": 3, "STABLE_CORRECTED": 4,
        "HOT_UNSTABLE": 5, "WARM_CORRECTED": 6, "BAD_BIAS": 7, "FULL_WELL_CORRECTED": 8, "BAD_FLAT": 9, "TRAIL": 10,
        "SAT_A_TO_D": 11, "COSMIC_DRIZZLE": 12, "COSMIC_SPLIT": 13, "GHOST": 14,
    }),
    # KiDS, flag images (kids.strw.leidenuniv.nl/DR1/masking.php)
    ("INSTRUME", "OMEGACAM", {
        "READOUT_SPIKE": 0, "SATURATION_CORE": 1, "DIFFRACTION_SPIKE": 2, "PRIMARY_HALO": 3, "SECONDARY_HALO": 4,
        "TERTIARY_HALO": 5, "BAD_PIXEL": 6, "MANUAL": 7,
    }),
    # NOIRLab's Community Pipeline (DECam, Mosaic-3, 90Prime); the same names in `CODED_PLANES`
    ("PRODTYPE", "dqmask", {
        "BAD": 0, "SATURATED": 1, "INTERP": 2, "COSMIC": 4, "BLEED": 6, "DIFFERENCE": 7, "EDGE": 8, "EDGE_2": 9,
        "STREAK": 11,
    }),
)  # fmt: skip

#: Since version 3.5 the Community Pipeline gives each pixel the code of one fault instead of bits (NOIRLab Data
#: Handbook; remap_dq_cp_codes of legacypipe).
CODED_PLANES = {
    "BAD": 1, "NO_DATA": 2, "SATURATED": 3, "BLEED": 4, "COSMIC": 5, "LOW_WEIGHT": 6, "DIFFERENCE": 7, "STREAK": 8,
}  # fmt: skip
CODES_SINCE = (3, 5)


def has_codes(*headers):
    """Whether the values of a mask are codes, not bits: headers are those of the mask, and of its file."""
    words = [{key: str(header.get(key, "")).strip() for key in ("PRODTYPE", "PLVER")} for header in headers]
    version = re.search(r"V?(\d+)\.(\d+)", next((word["PLVER"] for word in words if word["PLVER"]), ""))
    codes = version is None or (int(version[1]), int(version[2])) >= CODES_SINCE
    return codes and any(word["PRODTYPE"].lower() == "dqmask" for word in words)


_SAYS_GOOD = re.compile(
    r"\b(1|one|non-?zero|true)\s*(=|:|is|are|means|->)\s*(good|valid|ok|usable)"
    r"|\b(0|zero|false)\s*(=|:|is|are|means|->)\s*(bad|invalid|masked|unusable)"
    r"|\b(good|valid)( pixels?)?\s*(=|:|is|are|have)\s*(1|one|non-?zero|true)\b",
    re.IGNORECASE,
)
_SAYS_BAD = re.compile(
    r"\b(0|zero|false)\s*(=|:|is|are|means|->)\s*(good|valid|ok|usable)"
    r"|\b(1|one|non-?zero|true)\s*(=|:|is|are|means|->)\s*(bad|invalid|masked|unusable)"
    r"|\b(bad)( pixels?)?\s*(=|:|is|are|have)\s*(1|one|non-?zero|true)\b",
    re.IGNORECASE,
)
_VALUE_CARDS = {  # card to whether the value it holds is that of good pixels
    "GOODVAL": True, "GOODPIX": True, "MASKGOOD": True, "BADVAL": False, "BADVALUE": False, "MASKVAL": False,
}  # fmt: skip


def states_good(header):
    """Whether nonzero pixels of a mask are good, as its header states; None if it does not say."""
    if header.get("HDUCLAS3") == "MASKONE":
        return False
    for key, good in _VALUE_CARDS.items():
        value = str(header.get(key, "")).strip().upper()
        if value in {"0", "1", "T", "F", "TRUE", "FALSE"}:
            return good == (value in {"1", "T", "TRUE"})
    text = "\n".join(f"{card.value} / {card.comment}" for card in getattr(header, "cards", ()))
    if _SAYS_GOOD.search(text):
        return True
    return False if _SAYS_BAD.search(text) else None


#: Cards of the input that hold for its translation, too: they speak of the object and the place, not of instrument,
#: exposure, pixels or processing.
KEPT_CARDS = re.compile(
    r"OBJECT|OBJNAME|OBJID|OBJ_ID|TARGNAME|TARGET|FIELD|TILENAME|TILE|TRACT|PATCH|BRICK|BRICKNAME|SKYCELL"
    r"|(RA|DEC)_(TARG|OBJ)|(RA|DEC)OBJ|OBJ(RA|DEC)|REDSHIFT"
)
