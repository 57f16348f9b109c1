# nibble_library(<folder> SOURCES ... [DEPENDS ...] [PRIVATE_DEPENDS ...])
#   One static library per folder: nibble_<folder>, alias nibble::<folder>.
# nibble_kernels(<library> <source>...), nibble_integer_kernels(<library> <source>...), nibble_tile_kernels(...)
#   Compiles each source once per tier into an object library and adds the objects to <library>.

set(NIBBLE_WARNINGS -Wall -Wextra)
if(NIBBLE_WERROR)
  list(APPEND NIBBLE_WARNINGS -Werror)
endif()
if(NIBBLE_SANITIZED)
  # GCC 12 takes members of its own std::regex for uninitialized when it instruments them.
  list(APPEND NIBBLE_WARNINGS $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

function(nibble_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  # No contraction: a*b+c must give the same bits on every tier unless fma is written out.
  target_compile_options(${target} PRIVATE ${NIBBLE_WARNINGS} -ffp-contract=off)
endfunction()

function(nibble_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  set(target nibble_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(nibble::${folder} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${folder})
  nibble_compile_options(${target})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${nibble_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:include/nibble>)
  target_link_libraries(${target} PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE_DEPENDS})
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(NIBBLE_TIERS sse2 avx2 avx512)
  set(NIBBLE_INTEGER_TIERS scalar sse2 ssse3 avx2 avx512 avx512vnni)
  set(NIBBLE_TILE_TIERS amx)
  set(NIBBLE_TIER_FLAGS_scalar "")
  set(NIBBLE_TIER_FLAGS_sse2 -msse2)
  set(NIBBLE_TIER_FLAGS_ssse3 -mssse3)
  set(NIBBLE_TIER_FLAGS_avx2 -mavx2 -mfma)
  set(NIBBLE_TIER_FLAGS_avx512 -mavx512f -mavx512cd -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma
                               -mprefer-vector-width=512)
  set(NIBBLE_TIER_FLAGS_avx512vnni ${NIBBLE_TIER_FLAGS_avx512} -mavx512vnni -mavx512vpopcntdq)
  set(NIBBLE_TIER_FLAGS_amx ${NIBBLE_TIER_FLAGS_avx512vnni} -mamx-tile -mamx-int8)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(NIBBLE_TIERS neon)
  set(NIBBLE_INTEGER_TIERS scalar neon neondot)
  set(NIBBLE_TILE_TIERS "")
  set(NIBBLE_TIER_FLAGS_scalar "")
  set(NIBBLE_TIER_FLAGS_neon "")
  set(NIBBLE_TIER_FLAGS_neondot -march=armv8.2-a+dotprod)
else()
  message(FATAL_ERROR "nibble: no kernel tier for ${CMAKE_SYSTEM_PROCESSOR}; x86-64 and aarch64 are supported")
endif()

# The object library <objects> of <tier>.
function(nibble_kernel_objects objects tier sources)
  add_library(${objects} OBJECT ${sources})
  nibble_compile_options(${objects})
  target_include_directories(${objects} PRIVATE ${nibble_SOURCE_DIR})
  target_link_libraries(${objects} PRIVATE xsimd)
  # xsimd gets a namespace of its own per tier, so that the linker never merges inline functions that
  # were compiled for different instruction sets. -O2 everywhere: at -O0 such helpers would leak out. (With a
  # sanitizer -O1, which compiles ten times faster; its presets skip the symbol tests.)
  # clang reports loops that it does not unroll at -O1.
  # GCC 12 finds its own _mm512_undefined_ps() uninitialized (GCC bug 105593).
  target_compile_options(${objects} PRIVATE ${NIBBLE_TIER_FLAGS_${tier}} $<IF:$<BOOL:${NIBBLE_SANITIZED}>,-O1,-O2>
                                            $<$<AND:$<BOOL:${NIBBLE_SANITIZED}>,$<CXX_COMPILER_ID:Clang>>:-Wno-pass-failed>
                                            $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
                                            $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>)
  target_compile_definitions(${objects} PRIVATE NIBBLE_TIER=${tier} NIBBLE_TIER_${tier}
                                                xsimd=xsimd_${tier})
  set_target_properties(${objects} PROPERTIES NIBBLE_TIER ${tier})
  set_property(GLOBAL APPEND PROPERTY NIBBLE_KERNEL_LIBRARIES ${objects})
endfunction()

function(nibble_compile_kernels prefix library tiers sources)
  foreach(tier IN LISTS tiers)
    nibble_kernel_objects(${prefix}_${tier} ${tier} "${sources}")
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${prefix}_${tier}>)
  endforeach()
endfunction()

function(nibble_kernels library)
  nibble_compile_kernels(${library}_kernels ${library} "${NIBBLE_TIERS}" "${ARGN}")
endfunction()

function(nibble_integer_kernels library)
  nibble_compile_kernels(${library}_integer_kernels ${library} "${NIBBLE_INTEGER_TIERS}" "${ARGN}")
endfunction()

function(nibble_tile_kernels library)
  nibble_compile_kernels(${library}_tile_kernels ${library} "${NIBBLE_TILE_TIERS}" "${ARGN}")
endfunction()
